"""Time to first token and time per output token of whole models, predicted and measured, as CSV and in sum.

    python benchmarks/accuracy_models.py -o models.csv            # devices h100 and h200
    python benchmarks/accuracy_models.py -o models.csv --genz genz/bin/python
    python benchmarks/accuracy_models.py --summary models.csv --write

Every point is a server under a closed loop of clients (`sim/closed_loop.py`), set up as the public scripts of its
benchmark say (`servers.py`); times of steps come from the graph of one device of the model, kernel by kernel.
Compared are

- ours: kernels with the fitted constants of the device, and constants of runtimes, which are fitted on a tenth of the
  points, drawn evenly: of each runtime the seconds of a step on the host, of each sequence in it, and of starting a
  kernel that is not recorded; of each runtime in each benchmark the seconds that a request is on its way.
- kernels: the same without these constants: nothing is fitted to any server.
- roofline: the same loop at the peak rates of the data sheet, without constants.
- one step: at peak rates, one prompt read alone, and one step of all clients in the middle of writing, which is what
  GenZ computes.
- GenZ itself, on every tenth point that it can express, if `--genz` names a Python that has it.

Errors are of the points that nothing was fitted on.
"""

import argparse
import csv
import json
import subprocess
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from accuracy_models_plot import draw
from measured_models import BF16, FP8, Point, alike, architecture, by, read_points
from servers import NONE, Constants, fitted, load_of, setting, training
from tables import write_table

from tierplan.frontend.architecture import Architecture
from tierplan.frontend.parallel import ALONE, Shard
from tierplan.frontend.transformer import language_model
from tierplan.hardware.load import load_machine
from tierplan.ir.dtypes import BITS
from tierplan.ir.graph import Graph, Op, TensorKind
from tierplan.ir.machine import Machine
from tierplan.ir.problem import Floats
from tierplan.sim.closed_loop import serve
from tierplan.sim.step_prices import peak_prices, silicon_prices
from tierplan.sim.step_times import Model, Steps, Tables, shapes, tables
from tierplan.sim.step_works import Precision, Work

MEMORY_SHARE = 0.9  # of a device, for weights and cache: the default of the runtimes
TRAINING = 0.1  # of the points
METHODS = ("ours", "kernels", "roofline", "one step")

Prices = Callable[[Sequence[Work], Machine], Floats]


@dataclass(frozen=True, slots=True)
class Group:
    """Points that share a model on the same devices: their indices, room in the cache, and times of parts of steps."""

    indices: list[int]
    positions: list[float]
    kernels: Tables
    roofline: Tables


def groups_of(points: list[Point]) -> list[Group]:
    """Tables of all models on their devices."""
    found: list[Group] = []
    for _, indices in by(points, "device", "model", "precision", "parallel"):
        of = [points[i] for i in indices]
        machine, parallel, arch = load_machine(of[0].device), of[0].parallel, architecture(of[0].model)
        assert arch is not None
        layers, shard = alike(arch), Shard(parallel) if parallel.devices > 1 else ALONE
        graph = partial(_graph, arch, shard, tuple(layers))
        kinds = shapes(
            Model(graph, layers, of[0].precision),
            most_sequences=max(p.clients for p in of),
            most_tokens=max(min(setting(p).step_tokens, p.clients * p.prompt) for p in of),
            most_positions=max(p.prompt + p.new for p in of),
        )
        room = [positions_of(point, graph, layers, machine.tiers[0].capacity) for point in of]
        prices = (silicon_prices, peak_prices)
        found.append(Group(indices, room, *(tables(kinds, partial(_priced, price, machine)) for price in prices)))
        print(f"tables of {of[0].model} on {of[0].device}, {parallel}", flush=True)
    return found


def run(
    points: list[Point], groups: list[Group], asked: Sequence[int], constants: Constants, *, peak: bool = False
) -> Floats:
    """Seconds to the first token and per later token of some points, in the order asked for: [points, 2]."""
    seconds = dict.fromkeys(asked, (0.0, 0.0))
    for group in groups:
        own = [(i, room) for i, room in zip(group.indices, group.positions, strict=True) if i in seconds]
        if own:
            told = group.roofline if peak else group.kernels
            for index, room in own:
                point = points[index]
                steps = Steps(
                    told,
                    host_s=constants["host_s", point.runtime],
                    launch_s=constants["launch_s", point.runtime],
                    sequence_s=constants["sequence_s", point.runtime],
                    recorded_tokens=setting(point).recorded_tokens,
                )
                served = serve(load_of(point, room, constants), steps)
                seconds[index] = served.first_s, served.token_s
    return np.array([seconds[i] for i in asked])


def alone(points: list[Point], groups: list[Group]) -> Floats:
    """One prompt read alone and one step of all clients, at peak rates."""
    seconds = np.zeros((len(points), 2))
    for group in groups:
        steps = Steps(group.roofline)
        for index in group.indices:
            point = points[index]
            middle = point.prompt + point.new / 2
            seconds[index] = steps.mixed_s([(0, point.prompt)], 0, 0.0), steps.decode_s(point.clients, middle)
    return seconds


def _graph(arch: Architecture, shard: Shard, layers: tuple[int, ...], phase: str, batch: int, context: int) -> Graph:
    n, dtype = batch * shard.parallel.groups, "bfloat16"
    return language_model(arch, phase=phase, batch=n, context=context, dtype=dtype, shard=shard, layers=layers)


def _priced(price: Prices, machine: Machine, works: Sequence[Work]) -> Floats:
    return price(works, machine)


def positions_of(point: Point, graph: Callable[[str, int, int], Graph], alike: Mapping[int, int], memory: int) -> float:
    """Positions of all sequences that the cache holds: what weights leave of the memory, activations aside.

    One sequence at least: what was measured ran.
    """
    context = point.prompt + point.new
    whole = graph("decode", 1, context)
    weights = cached = 0.0
    for op in whole.ops:
        layer = op.attributes.get("layer")
        times = alike[layer] if isinstance(layer, int) else 1
        dtype = _weight_dtype(op, point.precision)
        weights += times * sum(whole.tensor(n).n_elements * BITS[dtype] / 8 for n in _of(whole, op, TensorKind.WEIGHT))
        if op.kind in ("cache_append", "latent_append"):
            states = _of(whole, op, TensorKind.STATE)
            cached += times * sum(whole.tensor(n).n_elements * BITS[point.precision.cache] / 8 for n in states)
    return max(context, (MEMORY_SHARE * memory - weights) / cached * context)


def _of(graph: Graph, op: Op, kind: TensorKind) -> set[str]:
    return {a.tensor for a in (*op.reads, *op.writes) if graph.tensor(a.tensor).kind is kind}


def _weight_dtype(op: Op, precision: Precision) -> str:
    if op.kind in ("expert_matmul", "grouped_matmul"):
        return precision.experts
    return precision.products if op.kind == "matmul" and op.attributes.get("layer") is not None else BF16


def genz(points: list[Point], python: str) -> dict[int, list[float]]:
    """What GenZ predicts, in seconds, by the index of the point."""
    asked = [i for i in range(0, len(points), 10) if (arch := architecture(points[i].model)) and not arch.latent]
    lines = "".join(json.dumps(_genz_row(points[i])) + "\n" for i in asked)
    script = str(Path(__file__).with_name("genz_models.py"))
    ran = subprocess.run([python, script], input=lines, capture_output=True, text=True, check=True)
    answers = [json.loads(line) for line in ran.stdout.splitlines()]
    return {i: [ms / 1e3 for ms in found] for i, found in zip(asked, answers, strict=True) if found}


def _genz_row(point: Point) -> dict[str, Any]:
    arch, machine = architecture(point.model), load_machine(point.device)
    assert arch is not None
    model = {
        "hidden_size": arch.hidden, "num_attention_heads": arch.n_heads, "num_key_value_heads": arch.n_kv_heads,
        "head_dim": arch.head_dim, "num_ffi": 2, "intermediate_size": arch.ffn, "num_decoder_layers": arch.n_layers,
        "vocab_size": arch.vocab, "max_model_len": arch.max_positions, "hidden_act": "silu",
    }  # fmt: skip
    if arch.experts is not None:
        model |= {
            "num_experts": arch.experts.n, "expert_top_k": arch.experts.per_token, "moe_layer_freq": 1,
            "intermediate_size": arch.experts.ffn, "moe_intermediate_size": arch.experts.ffn,
        }  # fmt: skip
    memory, network = machine.tiers[0], machine.networks[0]
    system = {
        "Flops": machine.matrix.rate("bfloat16") / 1e12, "Memory_size": 10 * memory.capacity / 1e9,
        "Memory_BW": memory.read_bandwidth / 1e9, "ICN": network.bandwidth / 1e9, "real_values": True,
    }  # fmt: skip
    return {
        "model": model, "system": system, "tp": max(1, point.parallel.tp // point.parallel.ep), "ep": point.parallel.ep,
        "bits": "fp8" if FP8 in (point.precision.products, point.precision.experts) else "bf16",
        "prompt": point.prompt, "new": point.new, "batch": point.clients,
    }  # fmt: skip


def rows_of(
    points: list[Point], found: dict[str, Floats], of_genz: dict[int, list[float]], train: Sequence[int]
) -> list[dict[str, Any]]:
    """One row per point: what it is, what was measured, what each method predicts, and whether it was fitted on."""
    rows: list[dict[str, Any]] = []
    for index, point in enumerate(points):
        row = {k: v for k, v in asdict(point).items() if k not in ("parallel", "precision")}
        row |= {k: getattr(point.parallel, k) for k in ("tp", "pp", "ep", "groups")} | asdict(point.precision)
        for method, seconds in found.items():
            row[f"{method} first_s"], row[f"{method} token_s"] = seconds[index].tolist()
        row["genz first_s"], row["genz token_s"] = of_genz.get(index, ["", ""])
        row["fitted on"] = index in train
        rows.append(row)
    return rows


def summary(rows: Sequence[dict[str, Any]]) -> list[list[str]]:
    """Median absolute errors of each method by device and model, and of all points of a device, on held-out points."""
    groups: dict[tuple[str, str], list[dict[str, Any]]] = defaultdict(list)
    for row in rows:
        if str(row["fitted on"]) == "True":
            continue
        groups[row["device"], row["model"].rpartition("/")[2]].append(row)
        groups[row["device"], "~all"].append(row)
        groups["~all", "~all"].append(row)
    told: list[list[str]] = []
    for (device, model), own in sorted(groups.items()):
        cells = [f"{device} {model}".replace("~all ~all", "all").replace("~all", "all"), str(len(own))]
        for what in ("first_s", "token_s"):
            cells += [_error(own, method, what) for method in (*METHODS, "genz")]
        told.append(cells)
    return told


def _error(rows: Sequence[dict[str, Any]], method: str, what: str) -> str:
    pairs = [(float(r[what]), float(r[f"{method} {what}"])) for r in rows if r[f"{method} {what}"] not in ("", None)]
    if not pairs:
        return "-"
    real, predicted = np.array(pairs).T
    return f"{np.median(np.abs(predicted / real - 1)):.1%}"


HEADER = ["points", "n", *(f"{what} {m}" for what in ("TTFT", "TPOT") for m in (*METHODS, "GenZ"))]


def main() -> None:
    """Predict and write, or sum up."""
    parser = argparse.ArgumentParser(description="Whole models, predicted and measured.")
    parser.add_argument("-o", "--output", type=Path, default=Path("accuracy_models.csv"))
    parser.add_argument("--devices", default="h100,h200")
    parser.add_argument("--every", type=int, default=1, metavar="N", help="every Nth point alone, for a quick look")
    parser.add_argument("--genz", default="", metavar="PYTHON", help="a Python that has genz-llm")
    parser.add_argument("--summary", type=Path, metavar="CSV", help="sum up a file that was written before")
    parser.add_argument("--write", action="store_true", help="write table and figure of docs/accuracy-models.md")
    asked = parser.parse_args()
    if asked.summary is None:
        points, left_out = read_points(tuple(asked.devices.split(",")))
        points = points[:: asked.every]
        for reason, n in left_out.most_common():
            print(f"left out {n}: {reason}")
        groups, every, train = groups_of(points), range(len(points)), training(len(points), TRAINING)
        constants = fitted(points, partial(run, points, groups), train)
        found = {
            "ours": run(points, groups, every, constants),
            "kernels": run(points, groups, every, NONE),
            "roofline": run(points, groups, every, NONE, peak=True),
            "one step": alone(points, groups),
        }
        rows = rows_of(points, found, genz(points, asked.genz) if asked.genz else {}, train)
        with asked.output.open("w", newline="", encoding="utf-8") as file:
            writer = csv.DictWriter(file, rows[0])
            writer.writeheader()
            writer.writerows(rows)
    else:
        with asked.summary.open(encoding="utf-8") as file:
            rows = list(csv.DictReader(file))
    table = summary(rows)
    for line in (HEADER, *table):
        print(" | ".join(line))
    if asked.write:
        write_table("accuracy-models.md", "models", HEADER, table)
        draw(rows)


if __name__ == "__main__":
    main()
