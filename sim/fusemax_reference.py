"""The published results of FuseMax that ours are compared with; no result is computed from them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from typing import Any

PICO = 1e-12


@dataclass(frozen=True, slots=True)
class Headline:
    """A mean over all points: `speedup` of FuseMax over a baseline, and its share of the baseline's energy."""

    scope: str
    baseline: str
    speedup: float
    energy: float


@dataclass(frozen=True, slots=True)
class Reference:
    """Published numbers. `rows` maps (scope, configuration or machine, model, length) to quantities.

    Units: bytes, seconds, joules, shares of the latency.
    """

    headlines: tuple[Headline, ...]
    rows: Mapping[tuple[str, str, str, int], Mapping[str, float]]


@cache
def reference() -> Reference:
    """What the paper and its artifact publish, as far as it is kept here."""
    import yaml

    text = files("tierplan.sim").joinpath("reference", "fusemax.yaml").read_text(encoding="utf-8")
    table: dict[str, Any] = yaml.safe_load(text)
    rows: dict[tuple[str, str, str, int], Mapping[str, float]] = {}
    for configuration, block in table["attention"].items():
        active = [f"utilization_2d[{einsum}]" for einsum in block["einsums"]]
        names = ["dram_bytes", "latency_s", "energy_j", "utilization_2d", "utilization_1d", *active]
        for model, length, *values in block["rows"]:
            rows["attention", configuration, model, length] = _quantities(names, values)
    for machine, block in table["products"].items():
        for model, length, *values in block:
            rows["products", machine, model, length] = _quantities(["dram_bytes", "latency_s", "energy_j"], values)
    return Reference(tuple(Headline(**each) for each in table["headlines"]), rows)


def _quantities(names: list[str], values: list[float]) -> dict[str, float]:
    found = dict(zip(names, values, strict=True))
    found["energy_j"] *= PICO
    return found
