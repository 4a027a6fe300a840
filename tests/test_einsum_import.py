"""TeAAL and EDGE files: read, printed back, and run where they are cascades."""

import numpy as np
import pytest

from tierplan.einsum.edge import EdgeAction, EdgeIndex, EdgePair, EdgeRank
from tierplan.einsum.edge_read import read_edge
from tierplan.einsum.edge_write import write_edge
from tierplan.einsum.execute import execute
from tierplan.einsum.printer import show_cascade
from tierplan.einsum.teaal import Split, Stamp
from tierplan.einsum.teaal_cascade import cascade_of
from tierplan.einsum.teaal_read import read_teaal
from tierplan.einsum.teaal_text import read_equation, read_split, write_equation, write_split
from tierplan.einsum.teaal_write import write_teaal
from tierplan.ir.errors import InvalidInputError

FULL = """
einsum:
  declaration:
    A: [K, M]
    B: [K, N]
    C: [M, N]
    T: [M, N]
    Z: [M, N]
  expressions:
    - T[m, n] = A[k, m] * B[k, n]
    - Z[m, n] = a * T[m, n] + C[m, n]
mapping:
  rank-order:
    A: [M, K]
  partitioning:
    T:
      K: [uniform_shape(KT), nway_shape(4)]
      (M, K0): [flatten()]
      MK0: [uniform_occupancy(A.16)]
      N: [follow(K)]
    Z:
  loop-order:
    T: [K2, N, MK01, MK00]
  spacetime:
    T:
      space: [N, MK01.coord]
      time: [K2.pos]
      opt: slip
format:
  A:
    default:
      rank-order: [M, K]
      M: {format: U, pbits: 32}
      K: {format: C, cbits: 32, pbits: 64, layout: interleaved}
architecture:
  Chip:
  - name: System
    attributes: {clock_frequency: 1000000000}
    local:
    - name: Memory
      class: DRAM
      attributes: {bandwidth: 128}
    subtree:
    - name: PE[0..7]
      local:
      - {name: Registers, class: Buffet}
bindings:
  T:
  - {config: Chip, prefix: tmp/T}
  - component: Memory
    bindings:
    - {tensor: A, rank: K, type: payload, format: default, evict-on: root, style: lazy}
"""


def test_every_section_is_read_and_printed_back():
    found = read_teaal(FULL)
    assert read_teaal(write_teaal(found)) == found
    assert found.mapping.partitioning["T"][("M", "K0")] == (Split("flatten"),)
    assert found.mapping.partitioning["T"][("MK0",)] == (Split("uniform_occupancy", 16, "A"),)
    assert found.mapping.partitioning["T"][("N",)] == (Split("follow", None, "K"),)
    assert found.mapping.partitioning["Z"] == {}
    assert found.mapping.spacetime["T"].space == (Stamp("N"), Stamp("MK01", "coord"))
    assert found.mapping.spacetime["T"].options == {"opt": "slip"}
    assert found.format["A"]["default"].ranks["K"]["layout"] == "interleaved"
    (system,) = found.architecture["Chip"]
    assert system.subtree[0].n_instances == 8
    assert system.local[0].class_ == "DRAM"
    assert found.bindings["T"].config == "Chip"
    assert found.bindings["T"].components[0].uses[0]["evict-on"] == "root"


def test_einsums_run_as_a_cascade():
    rng = np.random.default_rng(0)
    a, b, c = rng.normal(size=(3, 2)), rng.normal(size=(3, 4)), rng.normal(size=(2, 4))
    cascade = cascade_of(read_teaal(FULL))
    got = execute(cascade, {"A": a, "B": b, "C": c, "A2": np.array(2.0)})["Z"]
    np.testing.assert_allclose(got, 2 * a.T @ b + c)


def test_take_keeps_one_operand_where_both_are():
    text = "einsum:\n  declaration: {A: [K], B: [K], Z: [K]}\n  expressions: ['Z[k] = take(A[k], B[k], 1)']\n"
    cascade = cascade_of(read_teaal(text))
    got = execute(cascade, {"A": np.array([0.0, 1, 2]), "B": np.array([5.0, 0, 7])})["Z"]
    np.testing.assert_array_equal(got, [0, 0, 7])


def test_convolution_strides_are_shapes_or_numbers():
    text = """
einsum:
  declaration: {I: [W], F: [S], O: [Q]}
  expression:
    - O[q] = I[2*q + s] * F[s]
"""
    i, f = np.arange(9.0), np.array([1.0, -1.0, 2.0])
    cascade = cascade_of(read_teaal(text))
    got = execute(cascade, {"I": i, "F": f}, {"Q": 4})["O"]
    np.testing.assert_allclose(got, [i[2 * q : 2 * q + 3] @ f for q in range(4)])
    assert "O[q] = I[2*q + s] * F[s]" in show_cascade(cascade)


@pytest.mark.parametrize(
    "text",
    ["Z[] = A[k] * B[k]", "A[] = b", "O[x, y] = I[x + r, -1 * y + g * s] * F[r, s]", "Z[m] = a * T[m] + b * C[m]"],
)
def test_equations_round_trip(text):
    assert write_equation(read_equation(text)) == text


@pytest.mark.parametrize(
    "text",
    ["uniform_shape(16)", "uniform_shape(K0)", "nway_shape(3)", "uniform_occupancy(A.K0)", "flatten()", "follow(K)"],
)
def test_splits_round_trip(text):
    assert write_split(read_split(text)) == text


def test_old_loop_orders_and_unknown_entries_are_kept():
    text = "mapping:\n  loop-order:\n  - D: I, J\n  - T: J\n  splits: {D: 3}\n"
    found = read_teaal(text)
    assert found.mapping.loop_order == {"D": ("I", "J"), "T": ("J",)}
    assert found.mapping.others == {"splits": {"D": 3}}
    assert read_teaal(write_teaal(found)) == found


PROGRAM = """
# Reachability, written for this test.
- Tensors
G^{S = |V|, D = |V|} -> Boolean, empty = False
R^{I, D = |V|}       -> Boolean, empty = False
N'^{I, D = 8}        -> float, empty = +inf

- Stamp
sigma(i, v) = i * |V| + v

- Initialization       # where it begins
G, goal -> <user-specified>
root_id -> <user-specified>
R_0     -> <user-specified>
R_{0, s : s in root_id} = True

- Extended Einsums
N'_{i, d} = G_{s, d} . R_{i, s} :: /\\_s AND(\u2229) \\/_s ANY(\u222a)
M_{i, d} = (N'_{i, d} .^1 not R_{i, d})_{i, d} .^2 abs(goal_d) :: /\\^1 <-(take_left_only) /\\^2 *(intersect)
P_{i, d*} = M_{i, d} :: <<<_{d*} 1(select-first)
Q_{i, d} = cases:
    0        if d = s and i != 0
    M_{d, i} otherwise
R_{i+1, d} << P_{i, d}
<> : ||R_{i+1}|| == ||R_i||
"""


def test_edge_programs_are_read_and_printed_back():
    program = read_edge(PROGRAM)
    assert read_edge(write_edge(program)) == program
    assert program.tensors[2].ranks == (EdgeRank("I"), EdgeRank("D", "8"))
    stamp, init, main = program.sections
    assert stamp.statements[0].parameters == ("i", "v")
    assert [a.tensor for a in init.statements[0].names] == ["G", "goal"]
    assert init.statements[3].output.indices[1] == EdgeIndex("s", "s in root_id")
    first, second, populate, cases, update = main.statements
    assert first.actions == (
        EdgeAction("map", "AND", "intersect", "s"), EdgeAction("reduce", "ANY", "union", "s"),
    )  # fmt: skip
    assert isinstance(second.expression, EdgePair)
    assert second.expression.label == "2"
    assert populate.output.indices[1].starred
    assert populate.actions[0].merge == "select-first"
    assert [case.condition for case in cases.cases] == ["d = s and i != 0", None]
    assert update.update
    assert program.stop == "||R_{i+1}|| == ||R_i||"


def test_the_short_form_says_the_same():
    short = """
    dim N = 4;
    tensor G[R=N, C=N]   : float, empty = 0.0;   // weights; 0 = none
    tensor F[gen I, R=N] : float, empty = 0.0;
    init F = [[1.0, 0.0],
              [0.0, 0.0]];
    F[i+1, d] = G[s,d] . F[i,s] :: map(min, intersect) reduce(max, union);
    stop: stable(F);
    """
    program = read_edge(short)
    assert program.tensors[1].ranks == (EdgeRank("I"), EdgeRank("R", "N"))
    (einsum,) = program.sections[-1].statements
    assert einsum.output.indices == (EdgeIndex("i+1"), EdgeIndex("d"))
    assert einsum.actions == (EdgeAction("map", "min", "intersect"), EdgeAction("reduce", "max", "union"))
    assert program.stop == "stable(F)"
    assert read_edge(write_edge(program)) == program
    with pytest.raises(InvalidInputError, match="line 3, column 17: expected ':', found '= 3'"):
        read_edge("dim N = 4;\n\n  tensor G[R=N] = 3; T[i] = G[i];")
