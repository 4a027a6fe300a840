"""Plan a model that lies in flash: from a program, a machine and a sparsity to a problem with a choice."""

import os
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np

from tierplan.frontend.architecture import Architecture
from tierplan.frontend.config import read_config
from tierplan.frontend.encoder_decoder import EncoderDecoder
from tierplan.frontend.weights import Layer, Mixture, Weights, weights
from tierplan.hardware.load import load_hardware
from tierplan.ir.errors import InvalidInputError
from tierplan.ir.graph import Graph
from tierplan.ir.machine import Machine
from tierplan.ir.outcome import Outcome
from tierplan.ir.plan import Plan, Taken
from tierplan.ir.problem import Problem
from tierplan.ir.units import show_bytes
from tierplan.models import load, names
from tierplan.pipeline import lower
from tierplan.planner.bounds import bounded_cases, direct_bytes_missing
from tierplan.planner.cases import case_of
from tierplan.programs import Shaping
from tierplan.sim.flash_choice import FlashChoice, SparseLayer, with_choice
from tierplan.sim.flash_fit import read_model_of
from tierplan.sim.flash_ways import Pins, Way
from tierplan.sim.incremental.session import Simulated
from tierplan.sparsities import find_sparsity


@dataclass(frozen=True, slots=True)
class Wishes:
    """What the user says of a model larger than memory: its limit, how sparse it is, and what is decided already."""

    dram: int | None = None
    sparsity: str | None = None
    pins: Pins = field(default_factory=Pins)

    def written(self) -> str:
        """As on the command line, for plan files."""
        pins = self.pins
        words = {
            "--sparsity": self.sparsity, "--window": pins.window, "--chunk": pins.chunk, "--io-threads": pins.threads,
            "--bundling": None if pins.bundled is None else "on" if pins.bundled else "off",
        }  # fmt: skip
        return "".join(f" {option} {value}" for option, value in words.items() if value is not None)


@dataclass(frozen=True, slots=True)
class FlashPlan:
    """A problem, the machine that it is for, and, for a sparse model, its choice and its bytes by part.

    `tier` is where the neurons lie that stay in memory first.
    """

    problem: Problem
    machine: str | Machine
    tier: int = 0
    choice: FlashChoice | None = None
    parts: tuple[tuple[str, int], ...] = ()


def flash_plan(graph: Graph, model: str, shaping: Shaping, hardware: str, wishes: Wishes) -> FlashPlan:
    """The problem of a program on a machine, within the memory and with the sparsity that the user names.

    Raises: InvalidInputError: a machine without flash, a program or a phase that is not sparse, bad figures.
    """
    machine = limited(hardware, wishes.dram)
    problem = lower(graph, machine)
    return (
        FlashPlan(problem, machine)
        if wishes.sparsity is None
        else sparse_plan(problem, model, shaping, machine, wishes)
    )


def sparse_plan(problem: Problem, model: str, shaping: Shaping, machine: str | Machine, wishes: Wishes) -> FlashPlan:
    """The problem with the choice of how neurons are loaded; operations on feed-forward weights are steps of their own.

    Raises: InvalidInputError: as for `flash_plan`.
    """
    assert wishes.sparsity is not None
    sparsity, arch = find_sparsity(wishes.sparsity), _architecture(model)
    if shaping.phase not in (None, "decode") or shaping.batch not in (None, 1):
        raise InvalidInputError(
            "--sparsity is for decode with --batch 1: of many tokens at once, few neurons stay idle"
        )
    known = machine if isinstance(machine, Machine) else load_hardware(machine).machine
    flash = next((k for k, tier in enumerate(known.tiers) if not tier.direct), None)
    if flash is None:
        raise InvalidInputError(f"'{known.name}' has no tier like flash, which operations cannot use directly")
    parts = weights(arch)
    layers = [_sparse_layer(layer, arch) for layer in parts.layers]
    read = read_model_of(known.tiers[flash], known.tiers[flash].alignment)
    choice = with_choice(problem, layers, sparsity, read, flash, wishes.pins, known.name)
    if sparsity.model and sparsity.model not in (model, Path(model).stem, arch.name):
        note = f"the sparsity '{sparsity.name}' was measured on {sparsity.model}"
        choice = replace(choice, problem=replace(choice.problem, notes=(*choice.problem.notes, note)))
    tier = choice.ways[0].tier
    return FlashPlan(choice.problem, machine, tier, choice, tuple(_parts(parts, choice)))


def neuron_ops(graph: Graph, model: str) -> frozenset[int]:
    """Numbers of the operations that use feed-forward weights."""
    arch = _architecture(model)
    mine = {name for layer in weights(arch).layers for name in _sparse_layer(layer, arch).matrices}
    return frozenset(n for n, op in enumerate(graph.ops) if mine & {access.tensor for access in op.reads})


def limited(hardware: str, dram: int | None) -> str | Machine:
    """The machine with so much memory above flash; of a machine without flash, in its home. None: as it is."""
    if dram is None:
        return hardware
    found = load_hardware(hardware)
    machine = found.machine
    if found.spatial is not None:
        raise InvalidInputError(f"--dram means nothing for '{machine.name}', whose buffers feed arrays")
    flash = next((k for k, tier in enumerate(machine.tiers) if not tier.direct), None)
    k = machine.tier_index(machine.home) if not flash else flash - 1
    tier = machine.tiers[k]
    if dram <= tier.scratch:
        raise InvalidInputError(
            f"--dram {show_bytes(dram)}: operations need {show_bytes(tier.scratch)} for tiles alone"
        )
    return replace(machine, tiers=(*machine.tiers[:k], replace(tier, capacity=dram), *machine.tiers[k + 1 :]))


def _architecture(model: str) -> Architecture:
    """The architecture of a language model with one feed-forward part per layer."""
    if model in names():
        arch = read_config(load(model), model)
    elif Path(model).suffix == ".json" and os.path.exists(model):
        arch = read_config(Path(model).read_text(encoding="utf-8"), model)
    else:
        raise InvalidInputError(
            "--sparsity is for language models: a built-in name (see 'tierplan models') or a config.json"
        )
    if isinstance(arch, EncoderDecoder) or arch.patches:
        raise InvalidInputError(f"--sparsity means nothing for '{model}', which has no decoder alone")
    if arch.n_experts:
        raise InvalidInputError(f"--sparsity means nothing for '{model}', whose experts are sparse already")
    return arch


def _sparse_layer(layer: Layer, arch: Architecture) -> SparseLayer:
    part = layer.mlp
    assert not isinstance(part, Mixture), "models with experts are refused before"
    matrices = [linear.weight for linear in (part.gate, part.up, part.down) if linear is not None]
    return SparseLayer(layer.prefix, tuple(matrices), arch.ffn)


def _parts(parts: Weights, choice: FlashChoice) -> Iterator[tuple[str, int]]:
    """Bytes of the model by part: all but feed-forward weights, which lie in flash."""
    problem = choice.problem
    attention = {n for layer in parts.layers for x in (*layer.qkv, layer.out) for n, _ in x.shapes()}
    tables = [table for table in (parts.tokens, parts.positions, parts.token_types, parts.head) if table is not None]
    embeddings = {name for table in tables for name, _ in table.shapes()}
    sizes = dict.fromkeys(("attention", "embeddings", "norms and biases", "KV cache"), 0)
    for name, kind, size in zip(problem.tensor_names, problem.tensor_kind, problem.size.tolist(), strict=True):
        if kind == "state":
            sizes["KV cache"] += size
        elif kind == "weight":
            part = "attention" if name in attention else "embeddings" if name in embeddings else "norms and biases"
            sizes[part] += size
    yield from ((part, size) for part, size in sizes.items() if size)
    if choice.predictor:
        yield "predictor", choice.predictor
    yield "feed-forward neurons, at least", choice.least.held


def short_by(found: FlashPlan) -> int:
    """Bytes that lack for the step that needs most and for the way that keeps least; 0 if room is not what lacks."""
    assert found.choice is not None
    of_way = found.choice.ways.index(found.choice.least)
    problem = found.problem
    reserved = np.array(problem.choices[-1].alternatives[of_way].reserved)
    over = int(np.maximum(0, reserved - problem.tiers.usable).sum())
    taken = [0] * (len(problem.choices) - 1) + [of_way]
    return max(over, direct_bytes_missing(case_of(problem, taken).problem) + over)


@dataclass(frozen=True, slots=True)
class Rated:
    """An alternative beside the plan: seconds per token if it alone is taken instead, or the bytes that lack for that.

    `bound_s`: no plan that takes it is faster.
    """

    way: Way
    taken: bool
    time_s: float | None
    lacking: int
    bound_s: float | None


def rated(found: FlashPlan, outcome: Outcome) -> tuple[Rated, ...]:
    """Every alternative of the choice beside a plan, the fastest first; those that do not fit last."""
    assert found.choice is not None
    problem, ways = found.problem, found.choice.ways
    bounds = {bounded.case.taken[-1]: bounded.bound_s for bounded in bounded_cases(problem)}
    plan, rows = outcome.plan, list[Rated]()
    cost = Simulated(problem)
    for index, way in enumerate(ways):
        time_s, lacking, is_taken = None, 0, False
        if plan is not None:
            other = _instead(plan, len(problem.choices) - 1, index)
            is_taken = other.taken == plan.taken
            lacking = _lacking(problem, other)
            time_s = None if lacking else cost(other)
        rows.append(Rated(way, is_taken, time_s, lacking, bounds.get(index)))

    def order(row: Rated) -> tuple[bool, float, float]:
        return row.time_s is None, row.time_s or row.bound_s or float("inf"), row.way.io_s

    return tuple(sorted(rows, key=order))


def _instead(plan: Plan, choice: int, alternative: int) -> Plan:
    """The plan with another alternative of one choice."""
    taken = tuple(t if t.choice != choice else Taken(choice, alternative) for t in plan.taken)
    return replace(plan, taken=taken)


def _lacking(problem: Problem, plan: Plan) -> int:
    """Bytes by which what lies in memory meets what alternatives reserve, over all tiers."""
    top = [0] * problem.n_tiers
    for r in plan.residencies:
        top[r.tier] = max(top[r.tier], r.offset + int(problem.size[r.tensor]))
    for t in plan.taken:
        for k, n_bytes in enumerate(problem.choices[t.choice].alternatives[t.alternative].reserved):
            top[k] += n_bytes
    return sum(max(0, top[k] - int(problem.tiers.usable[k])) for k in range(problem.n_tiers))


def flash_row(found: FlashPlan, outcome: Outcome) -> dict[str, Any]:
    """The alternatives and the parts, as `tierplan plan --json` gives them. Bytes, seconds."""
    tiers = found.problem.tiers.names
    alternatives = [
        {
            "name": row.way.name,
            "taken": row.taken,
            "kind": row.way.kind.name.lower(),
            "window": row.way.window,
            "bundled": row.way.bundled,
            "chunk_bytes": row.way.chunk,
            "io_threads": row.way.threads,
            "tier": tiers[row.way.tier],
            "held_bytes": row.way.held,
            "loaded_bytes": row.way.wanted,
            "read_bytes": row.way.moved,
            "io_s": row.way.io_s,
            "rewrite_s": row.way.rewrite_s,
            "time_s": row.time_s,
            "lacking_bytes": row.lacking,
            "bound_s": row.bound_s,
        }
        for row in rated(found, outcome)
    ]
    parts = [{"part": part, "bytes": size} for part, size in found.parts]
    return {"parts": parts, "short_by_bytes": short_by(found), "alternatives": alternatives}
