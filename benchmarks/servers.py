"""How the servers of measured points were set up, and what their runtimes take beside kernels.

Settings are those of the public scripts of both benchmarks, none is fitted:

- InferenceMAX (SemiAnalysis, github.com/SemiAnalysisAI/InferenceX, `benchmarks/`): lengths drawn between 0.8 and 1,
  ten requests a client, all at once; vLLM with 8192 tokens a step, SGLang with 32768, TensorRT-LLM by model.
- aiconfigurator's own (PyPI, aiconfigurator 0.12.0, `generator/rule_plugin/benchmark/`), with aiperf: fixed lengths;
  room in a step for one prompt, 1500 tokens and, but for SGLang, one token a client. SGLang reads prompts beside what
  is written, but in 0.5.1, whose template lacks the option.

Constants of runtimes are fitted on the training share of the points. They are the same for all models and devices.
"""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from types import MappingProxyType

import numpy as np
from measured_models import Point

from tierplan.ir.problem import Floats
from tierplan.sim.closed_loop import Load

ROUNDS = 10  # requests of each client
_MARGIN = 1500  # tokens beside one prompt, in aiconfigurator's rules
_SHORTEST = {"drawn": 0.8, "fixed": 1.0}  # of the lengths that a benchmark draws
RUNTIMES, SOURCES = ("vllm", "trtllm", "sglang"), ("drawn", "fixed")

Constants = Mapping[tuple[str, str], float]
"""Seconds by what they are and whose."""

NONE: Constants = MappingProxyType(
    {(name, runtime): 0.0 for runtime in RUNTIMES for name in ("host_s", "sequence_s", "launch_s")}
    | {("way_s", f"{runtime} {source}"): 0.0 for runtime in RUNTIMES for source in SOURCES}
)

_GRIDS = {
    "host_s": (0.0, 0.5e-3, 1e-3, 2e-3, 3e-3),
    "sequence_s": (0.0, 20e-6, 40e-6, 80e-6),
    "launch_s": (0.0, 25e-6, 50e-6, 75e-6, 100e-6),
    "way_s": (0.0, 5e-3, 10e-3, 20e-3, 40e-3, 80e-3),
}
_BEGIN = {"host_s": 1e-3, "sequence_s": 20e-6, "launch_s": 50e-6, "way_s": 20e-3}
_FINER = (0.8, 1.0, 1.25)
_MOST = float(np.log(2.0))  # of the error of a point that counts: what is off by more is not understood


@dataclass(frozen=True, slots=True)
class Setting:
    """Room for tokens in a step, whether prompts are read before anything is written, and the largest recorded step."""

    step_tokens: int
    reads_first: bool
    recorded_tokens: int = 0


def setting(point: Point) -> Setting:
    """How the server of a point was set up."""
    if point.runtime == "sglang":
        if point.source == "drawn":
            return Setting(32768, reads_first=True)
        return Setting(point.prompt + _MARGIN, reads_first=point.version.startswith("0.5.1."))
    recorded = 0 if point.runtime == "trtllm" else 512  # vLLM's default
    if point.source == "fixed":
        return Setting(point.prompt + _MARGIN + point.clients, reads_first=False, recorded_tokens=recorded)
    if point.runtime == "vllm":
        return Setting(8192, reads_first=False, recorded_tokens=2048 if "gpt-oss" in point.model else recorded)
    if "gpt-oss" in point.model:
        return Setting(20000, reads_first=False)
    if "Llama" in point.model:
        return Setting(16384, reads_first=False)
    return Setting(max(8192, point.clients + point.prompt + 64), reads_first=False)


def load_of(point: Point, positions: float, constants: Constants) -> Load:
    """What the clients of a point ask of one group of devices, whose cache has room for so many positions."""
    told = setting(point)
    return Load(
        point.clients,
        point.prompt,
        point.new,
        requests=ROUNDS * point.clients,
        step_tokens=told.step_tokens,
        shortest=_SHORTEST[point.source],
        positions=positions,
        way_s=constants["way_s", f"{point.runtime} {point.source}"],
        reads_first=told.reads_first,
    )


def training(n_points: int, share: float) -> list[int]:
    """Indices of the points that constants are fitted on: drawn evenly, seed 0."""
    drawn = np.random.default_rng(0).choice(n_points, round(share * n_points), replace=False)
    return sorted(drawn.tolist())


def fitted(points: list[Point], run: Callable[[list[int], Constants], Floats], train: list[int]) -> Constants:
    """Constants that suit the training points best, one after another over a grid, and once more over a finer one.

    `run` predicts both times of these points, [points, 2]. Least is the mean of absolute logarithms of the ratio of
    what is predicted to what was measured, none above that of a factor of two.
    """
    found = {key: _BEGIN[key[0]] for key in NONE}
    for fine in (False, True):
        for key in found:
            own = [i for i in train if key[1] in _whose(points[i])]
            if own:
                tried = ({**found, key: value} for value in _values(key[0], found[key], fine))
                found = min(tried, key=lambda each: _loss(points, own, run(own, each)))
        print("fitted", {" ".join(k): float(f"{v:.3g}") for k, v in found.items()}, flush=True)
    return found


def _whose(point: Point) -> tuple[str, str]:
    """Whose constants a point depends on."""
    return point.runtime, f"{point.runtime} {point.source}"


def _values(name: str, at: float, fine: bool) -> Iterator[float]:
    if not fine:
        yield from _GRIDS[name]
    else:
        yield from (at * factor for factor in _FINER)


def _loss(points: list[Point], indices: list[int], predicted: Floats) -> float:
    real = np.array([(points[i].first_s, points[i].token_s) for i in indices])
    return float(np.minimum(np.abs(np.log(predicted / real)), _MOST).mean())
