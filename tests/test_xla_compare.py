"""Lifespans and offsets of compiled modules against XLA's own, and by hand."""

import json
import re
import subprocess
import sys
from pathlib import Path

import jax
import jax.numpy as jnp
import pytest
from hlo_samples import TEXTS
from jax import lax

from tierplan.frontend.hlo_lifespans import Slot, slots_of
from tierplan.frontend.hlo_parse import read_hlo
from tierplan.frontend.hlo_values import values_of
from tierplan.frontend.xla_compile import compile_function
from tierplan.ir.errors import InvalidInputError
from tierplan.planner.temporaries import Wanted, pack
from tierplan.xla_compare import compare_with_xla

EXAMPLE = Path(__file__).parent.parent / "examples" / "transformer_block.py"


def shape(*extents, dtype=jnp.float32):
    return jax.ShapeDtypeStruct(extents, dtype)


def scanned(weights, x):
    def body(h, w):
        h = jnp.tanh(h @ w)
        return h, h.sum()

    y, sums = lax.scan(body, x, weights)
    return lax.cond(sums[0] > 0, lambda y: y @ y + 1.0, jnp.sort, jax.nn.softmax(y @ y.T)), sums


def chained(x):
    for _ in range(6):
        x = jnp.sin(x @ x) + x.sum(0)
    return x, jnp.sort(x.ravel())


def replaced(x, y):
    return x + jnp.sin(x @ y) @ y, (x * y).sum()


PROGRAMS = {
    "scanned": (scanned, (shape(5, 64, 64), shape(64, 64))),
    "scanned gradient": (
        jax.value_and_grad(lambda w, x: scanned(w, x)[1].sum()),
        (shape(5, 64, 64), shape(64, 64)),
    ),
    "chained": (chained, (shape(40, 40),)),
    "replaced": (jax.jit(replaced, donate_argnums=0), (shape(64, 64), shape(64, 64))),
}


@pytest.mark.parametrize("name", PROGRAMS)
def test_our_peak_is_never_above_that_of_xla(name):
    row = compare_with_xla(compile_function(*PROGRAMS[name], name), budget=2.0)
    assert row.packed.lower_bound <= row.packed.height <= row.compiled.temporaries
    assert row.compiled.temporaries == 0 or row.packed.height > 0


def broken(slots: list[Slot], offsets: dict[Slot, int]) -> list[tuple[str, str]]:
    """Pairs that take the same bytes at the same step, the slow way."""
    return [
        (one.name, other.name)
        for i, one in enumerate(slots)
        for other in slots[:i]
        if offsets[one] < offsets[other] + other.size
        and offsets[other] < offsets[one] + one.size
        and {t for a, b in one.runs for t in range(a, b)} & {t for a, b in other.runs for t in range(a, b)}
    ]


@pytest.mark.parametrize("name", ["scanned", "chained"])
def test_offsets_are_legal(name):
    compiled = compile_function(*PROGRAMS[name], name)
    slots = [slot for slot in slots_of(values_of(read_hlo(compiled.text, name))) if slot.is_temporary]
    wanted = [Wanted(slot.name, slot.size, slot.runs) for slot in slots]
    packed = pack(wanted, [], alignment=64, budget=2.0)
    offsets = dict(zip(slots, packed.offset, strict=True))
    assert broken(slots, offsets) == []
    assert all(offset % 64 == 0 for offset in packed.offset)
    assert max(offset + slot.size for slot, offset in offsets.items()) == packed.height
    most = max(range(len(slots)), key=lambda i: packed.offset[i])
    assert broken(slots, {**offsets, slots[most]: 0})


def test_temporaries_may_lie_in_a_result_before_it_is_made():
    first, second = Wanted("first", 640, [(0, 2)]), Wanted("second", 640, [(1, 3)])
    result = Wanted("result", 640, [(3, 4)])
    assert pack([first, second], [], alignment=64, budget=1.0).height == 1280
    packed = pack([first, second], [result], alignment=64, budget=1.0)
    assert (packed.height, packed.n_in_rooms, packed.lower_bound) == (640, 1, 640)
    assert sorted(packed.offset) == [-1, 0]


def test_a_buffer_may_not_reach_from_one_result_into_the_next():
    wanted = [Wanted("wide", 640, [(0, 2)])]
    rooms = [Wanted("left", 384, [(2, 3)]), Wanted("right", 384, [(2, 3)])]
    assert pack(wanted, rooms, alignment=64, budget=1.0).height == 640


def test_a_result_in_use_holds_no_temporary():
    rooms = [Wanted("result", 640, [(1, 4)])]
    assert pack([Wanted("late", 640, [(0, 2)])], rooms, alignment=64, budget=1.0).height == 640
    assert pack([Wanted("early", 640, [(0, 1)])], rooms, alignment=64, budget=1.0).height == 0


def test_lifespans_by_hand():
    values = values_of(read_hlo(TEXTS["compiled"], "compiled"))
    at = {value.instruction.name: value for value in values.all() if value.index == ()}
    softmax = at["broadcast_multiply_fusion"]
    assert softmax.group.is_temporary
    state = next(g for g in values.groups if any(v.instruction.name == "wrapped_tanh" for v in g.values))
    assert state.replaced
    assert state.live_out
    assert {v.instruction.opcode for v in state.values} >= {"parameter", "while", "fusion", "conditional"}
    assert len(state.lives()) > 1, "the state's bytes are free between its last use in a turn and its next value"


SHARED = """HloModule shared, is_scheduled=true

ENTRY main {
  x = f32[1024]{0} parameter(0)
  a = f32[1024]{0} negate(x)
  b = f32[1024]{0} sine(a)
  c = f32[1024]{0} add(a, b)
  d = f32[1024]{0} reverse(c), dimensions={0}
  e = f32[1024]{0} copy(d)
  ROOT f = f32[1024]{0} cosine(e)
}
"""


def test_a_result_is_written_over_an_operand_that_nobody_needs_any_more():
    slots = slots_of(values_of(read_hlo(SHARED, "shared")))
    names = [{value.instruction.name for group in slot.groups for value in group.values} for slot in slots]
    assert sorted(map(sorted, names)) == [["a", "c"], ["b"], ["d"], ["e"], ["f"]]
    shared = slots[names.index({"a", "c"})]
    assert shared.runs == [(1, 5)]


FUSED = """HloModule fused, is_scheduled=true

aligned {{
  p = f32[1024]{{0}} parameter(0)
  n = f32[1024]{{0}} negate(p)
  ROOT m = f32[1024]{{0}} multiply(n, p)
}}

turned {{
  p = f32[1024]{{0}} parameter(0)
  n = f32[1024]{{0}} reverse(p), dimensions={{0}}
  ROOT m = f32[1024]{{0}} multiply(n, p)
}}

ENTRY main {{
  x = f32[1024]{{0}} parameter(0)
  a = f32[1024]{{0}} negate(x)
  b = f32[1024]{{0}} fusion(a), kind=kLoop, calls={called}
  c = f32[1024]{{0}} reverse(b), dimensions={{0}}
  ROOT d = f32[1024]{{0}} cosine(c)
}}
"""


@pytest.mark.parametrize(("called", "together"), [("aligned", True), ("turned", False)])
def test_a_fusion_is_written_over_an_operand_that_it_reads_element_by_element(called, together):
    slots = slots_of(values_of(read_hlo(FUSED.format(called=called), "fused")))
    names = [{value.instruction.name for group in slot.groups for value in group.values} for slot in slots]
    assert ({"a", "b"} in names) == together


@pytest.mark.parametrize("name", ["scanned", "chained"])
def test_only_temporaries_of_one_value_are_written_over(name):
    slots = slots_of(values_of(read_hlo(compile_function(*PROGRAMS[name], name).text, name)))
    shared = [slot for slot in slots if len(slot.groups) > 1]
    assert shared
    assert all(len(group.values) == 1 and group.is_temporary for slot in shared for group in slot.groups)


def test_a_module_that_is_not_scheduled_is_refused():
    with pytest.raises(InvalidInputError, match=r"not scheduled .* give the compiled module's text"):
        values_of(read_hlo(TEXTS["lowered"], "lowered"))


def test_computations_that_run_side_by_side_are_refused():
    with pytest.raises(InvalidInputError, match="runs beside others"):
        values_of(read_hlo(TEXTS["tiled"], "tiled"))


_DUMPED = """
import glob, json, os, sys
os.environ["XLA_FLAGS"] = f"--xla_dump_to={sys.argv[1]} --xla_dump_hlo_as_text"
import jax
sys.path[:0] = sys.argv[2:]
from programs.catalog import programs
from test_xla_compare import PROGRAMS
for name, fn, args in [*((name, *program) for name, program in PROGRAMS.items()), *programs()]:
    jitted = fn if hasattr(fn, "lower") else jax.jit(fn)
    text = jitted.lower(*args).compile().as_text()
    newest = max(glob.glob(sys.argv[1] + "/*live-range.txt"), key=os.path.getmtime)
    print(json.dumps([name, text, open(newest).read()]))
"""


@pytest.mark.slow
def test_lifespans_are_those_of_xla(tmp_path):
    """Every group of values takes its bytes at exactly the steps that XLA's own dump of live ranges gives."""
    here = Path(__file__).parent
    folders = [str(here), str(here.parent / "benchmarks")]
    done = subprocess.run(
        [sys.executable, "-c", _DUMPED, str(tmp_path), *folders],
        capture_output=True,
        text=True,
        check=True,
    )
    compared = 0
    for line in done.stdout.splitlines():
        name, text, dump = json.loads(line)
        theirs = {
            (found[1], found[2]): (int(found[3]), int(found[4]) + 1)
            for found in re.finditer(r"^\s+([\w.\-]+)(\{[\d,]*\}):(\d+)-(\d+)", dump.split("BufferLiveRange:")[1], re.M)
        }
        for group in values_of(read_hlo(text, name)).groups:
            if group.argument and not group.replaced:
                continue
            keys = [(v.instruction.name, "{" + ",".join(map(str, v.index)) + "}") for v in group.values]
            runs: list[tuple[int, int]] = []
            for start, stop in sorted(theirs[key] for key in keys if key in theirs):
                if runs and start <= runs[-1][1]:
                    runs[-1] = runs[-1][0], max(runs[-1][1], stop)
                else:
                    runs.append((start, stop))
            assert group.lives() == runs, (name, keys)
            compared += 1
    assert compared > 4000


def run(*words: str) -> subprocess.CompletedProcess[str]:
    code = "import sys; from tierplan.cli import main; sys.argv[0] = 'tierplan'; main()"
    return subprocess.run([sys.executable, "-c", code, *words], capture_output=True, text=True)


def test_the_command_prints_one_row_and_json(tmp_path):
    module = tmp_path / "small.py"
    module.write_text("import jax.numpy as jnp\ndef f(x):\n    return jnp.sin(x @ x) @ x\n", encoding="utf-8")
    done = run("compare-xla", f"{module}:f", "--shapes", "f32[64,64]", "--budget", "1s", "--json")
    assert done.returncode == 0, done.stderr
    told = json.loads(done.stdout)
    (row,) = told["programs"]
    assert row["our_bytes"] <= row["xla_bytes"]
    assert told["mean_saving"] == row["saving"] == 1 - row["our_bytes"] / row["xla_bytes"]


def test_the_command_refuses_what_cannot_be_compiled(tmp_path):
    module = tmp_path / "wrong.py"
    module.write_text("def f(x):\n    return x @ x\n", encoding="utf-8")
    done = run("compare-xla", f"{module}:f", "--shapes", "f32[2,3]")
    assert done.returncode == 2
    assert done.stderr.startswith("tierplan: cannot compile")
    assert done.stderr.count("\n") == 1


def test_plan_reads_hlo_text(tmp_path):
    path = tmp_path / "module.hlo.txt"
    path.write_text(TEXTS["compiled"], encoding="utf-8")
    done = run("plan", str(path), "--hardware", "tpu-v4i", "--planner", "greedy", "--json")
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["status"] in ("OPTIMAL", "FEASIBLE")
    refused = run("plan", str(path), "--hardware", "tpu-v4i", "--shapes", "f32[2]")
    assert refused.returncode == 2
    assert "--shapes means nothing for an HLO module" in refused.stderr
