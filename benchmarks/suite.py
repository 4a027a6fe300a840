"""The placement suite: real programs on machines with two, three and four tiers, by name.

python benchmarks/suite.py            # lists them, with their size
"""

import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parent))

import jax
import jax.numpy as jnp
from programs import convolutional, others, sequences
from programs.layers import shape

import tierplan
from tierplan.ir.problem import Problem

_MACHINES = {name: str(Path(__file__).parent / "machines" / f"{name}.yaml") for name in ("three-tier", "four-tier")}


@dataclass(frozen=True, slots=True)
class SuiteProblem:
    """A program with example arguments, on a machine. `cyclic`: it repeats, as steps of training or of serving do."""

    name: str
    program: Callable[..., Any]
    args: tuple[Any, ...]
    hardware: str
    cyclic: bool

    def lower(self) -> Problem:
        """The placement problem."""
        from dataclasses import replace

        from tierplan.frontend.jax_function import trace

        graph = trace(self.program, self.args, name=self.name)
        return tierplan.lower(replace(graph, cyclic=self.cyclic), self.hardware)


def _grad(loss: Callable[..., Any]) -> Callable[..., Any]:
    return jax.value_and_grad(loss)


def _programs() -> Iterator[tuple[str, Callable[..., Any], tuple[Any, ...]]]:
    """Name with batch size and phase, program, arguments."""
    ints = jnp.int32
    conv, seq = convolutional, sequences
    for b in (1, 8, 32):
        image, labels = shape(b, 224, 224, 3), shape(b, dtype=ints)
        for name in ("alexnet", "vgg16", "resnet50"):
            network, params = getattr(conv, name), getattr(conv, f"{name}_shapes")()
            yield f"{name}-{b}", network, (params, image)
            if b > 1:
                yield f"{name}-{b}-train", _grad(conv.classifier_loss(network)), (params, image, labels)
    for b in (1, 4):
        image = shape(b, 256, 256, 3)
        yield f"unet-{b}", conv.unet, (conv.unet_shapes(), image)
        yield f"unet-{b}-train", _grad(conv.unet_loss), (conv.unet_shapes(), image, shape(b, 256, 256, dtype=ints))
    for b, t in ((1, 128), (8, 512)):
        params, tokens = seq.encoder_shapes(12, 768, 30_522, t), shape(b, t, dtype=ints)
        yield f"bert-{b}x{t}", seq.bert, (params, tokens)
    for b, t in ((1, 1024), (4, 512)):
        params, tokens = seq.encoder_shapes(12, 768, 50_257, t), shape(b, t, dtype=ints)
        yield f"gpt2-{b}x{t}", seq.gpt2, (params, tokens)
        yield f"gpt2-{b}x{t}-train", _grad(seq.language_loss), (params, tokens, tokens)
    for b in (1, 16):
        patches, labels = shape(b, 196, 768), shape(b, dtype=ints)
        yield f"vit-{b}", seq.vit, (seq.vit_shapes(), patches)
        yield f"mixer-{b}", seq.mixer, (seq.mixer_shapes(), patches)
    yield "vit-16-train", _grad(seq.vit_loss), (seq.vit_shapes(), shape(16, 196, 768), shape(16, dtype=ints))
    yield "mixer-16-train", _grad(seq.mixer_loss), (seq.mixer_shapes(), shape(16, 196, 768), shape(16, dtype=ints))
    for tokens in (16, 512):
        yield f"experts-{tokens}", seq.experts, (seq.experts_shapes(), shape(tokens, 1024))
    for t in (16, 48):
        tokens = shape(16, t, dtype=ints)
        yield f"lstm-16x{t}", seq.lstm, (seq.lstm_shapes(), tokens)
    yield (
        "lstm-16x16-train",
        _grad(seq.lstm_loss),
        (seq.lstm_shapes(), shape(16, 16, dtype=ints), shape(16, dtype=ints)),
    )
    yield "wavernn-64x32", seq.wavernn, (seq.wavernn_shapes(), shape(32, 64, 3))
    edges = shape(160_000, dtype=ints)
    nodes, classes = shape(20_000, 512), shape(20_000, dtype=ints)
    yield "gnn", others.gnn, (others.gnn_shapes(), nodes, edges, edges)
    yield "gnn-train", _grad(others.gnn_loss), (others.gnn_shapes(), nodes, edges, edges, classes)
    params = seq.vit_shapes(layers=6)
    yield "adam-vit", others.adam, (params, params, params, params)
    for n in (2048, 8192):
        yield f"bilinear-{n}", others.bilinear, (shape(n, n), shape(n, n))


def problems() -> list[SuiteProblem]:
    """All problems: every program on tpu-v4i, and some on machines with three tiers and more."""
    found: list[SuiteProblem] = []
    for name, program, args in _programs():
        found.append(SuiteProblem(f"{name}@tpu-v4i", program, args, "tpu-v4i", cyclic=True))
        if name in ("resnet50-8-train", "gpt2-4x512-train", "vit-16-train", "experts-512", "unet-4-train", "adam-vit"):
            found += [
                SuiteProblem(f"{name}@{machine}", program, args, _MACHINES[machine], cyclic=True)
                for machine in _MACHINES
            ]
    return found


def main() -> None:
    """List the problems with their size."""
    import time

    for entry in problems():
        began = time.perf_counter()
        problem = entry.lower()
        ratio = float(problem.size.sum()) / float(problem.tiers.usable[0])
        print(
            f"{entry.name:32} {problem.n_steps:5} steps {problem.n_tensors:5} tensors, "
            f"{ratio:7.1f} times tier 0, lowered in {time.perf_counter() - began:.1f} s",
            flush=True,
        )


if __name__ == "__main__":
    main()
