"""The graph of one device of several does what JAX compiles for one: the same products, the same bytes exchanged."""

import json
import os
import re
import subprocess
import sys
from collections import Counter
from math import prod
from pathlib import Path

import pytest

from tierplan.frontend.config import read_config
from tierplan.frontend.parallel import Parallel, Shard
from tierplan.frontend.transformer import language_model
from tierplan.ir.collectives import collective_of

pytest.importorskip("jax")

EXTENTS = {
    "batch": 4, "context": 48, "hidden": 64, "inner": 192, "vocab": 256, "heads": 16, "kv_heads": 8, "width": 16,
    "layers": 2,
}  # fmt: skip
DEFINED = re.compile(r"%?([\w.-]+) = \w+\[([\d,]*)\]\S* ([\w-]+)\(([^)]*)\)(.*)")
CONTRACTED = re.compile(r"lhs_contracting_dims=\{([\d,]*)\}")


def compiled(devices, **changes):
    """The program of one device, and the extents that it was compiled for."""
    extents = EXTENTS | changes
    program = str(Path(__file__).with_name("sharded_transformer.py"))
    flags = {"XLA_FLAGS": f"--xla_force_host_platform_device_count={devices}", "JAX_PLATFORMS": "cpu"}
    ran = subprocess.run(
        [sys.executable, program, json.dumps(extents)], capture_output=True, text=True, env=os.environ | flags
    )
    assert ran.returncode == 0, ran.stderr
    return ran.stdout, extents


def numbers(text):
    return [int(n) for n in text.split(",") if n]


def done(hlo):
    """Operations of products, and how often which bytes go into which collective."""
    found = [match.groups() for match in map(DEFINED.search, hlo.splitlines()) if match]
    shapes = {name: numbers(shape) for name, shape, *_ in found}
    ops, told = 0, Counter()
    for name, _, kind, operands, rest in found:
        if kind == "dot":
            left = shapes[operands.split(",")[0].strip().lstrip("%")]
            (axes,) = CONTRACTED.findall(rest)
            ops += 2 * prod(shapes[name]) * prod(left[axis] for axis in numbers(axes))
        elif kind in ("all-reduce", "all-gather", "all-to-all"):
            told[kind.replace("-", "_"), 4 * prod(shapes[name])] += 1
    return ops, told


def ours(devices, extents):
    config = {
        "model_type": "llama", "hidden_size": extents["hidden"], "num_hidden_layers": extents["layers"],
        "num_attention_heads": extents["heads"], "num_key_value_heads": extents["kv_heads"],
        "head_dim": extents["width"], "intermediate_size": extents["inner"], "vocab_size": extents["vocab"],
        "max_position_embeddings": 512, "tie_word_embeddings": False,
    }  # fmt: skip
    arch = read_config(json.dumps(config), "small")
    graph = language_model(
        arch, phase="decode", batch=extents["batch"], context=extents["context"], dtype="float32",
        shard=Shard(Parallel(devices)),
    )  # fmt: skip
    collectives = [found for op in graph.ops if (found := collective_of(op)) is not None]
    assert all(found.devices == devices for found in collectives)
    return sum(op.matrix_ops for op in graph.ops), Counter((found.kind, found.bytes) for found in collectives)


@pytest.mark.parametrize("devices", [2, 8])
def test_a_device_does_what_jax_compiles_for_one(devices):
    hlo, extents = compiled(devices)
    ops, told = done(hlo)
    assert set(told) == {("all_reduce", 4 * 4 * 64), ("all_gather", 4 * 4 * 256)}
    assert (ops, told) == ours(devices, extents)
