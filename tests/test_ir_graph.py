"""Graphs: what they count, and the nonsense that they refuse."""

import pytest

from tierplan.ir.errors import InvalidInputError
from tierplan.ir.graph import Access, Carry, Graph, Loop, Op, Tensor, TensorKind

X = Tensor("x", (2, 3), "float32", TensorKind.INPUT)
Y = Tensor("y", (3,), "int4", TensorKind.OUTPUT)
F = Op("f", "k", (Access("x", 24),), (Access("y", 2),))


def test_sizes_are_rounded_up_to_whole_bytes() -> None:
    assert (X.n_elements, X.size) == (6, 24)
    assert (Y.n_elements, Y.size) == (3, 2)
    assert Tensor("s", (), "bool", TensorKind.STATE).size == 1
    assert Tensor("e", (0, 5), "float32", TensorKind.STATE).size == 0


def test_which_kinds_exist_at_the_start() -> None:
    assert {kind.name for kind in TensorKind if not kind.exists_at_start} == {"OUTPUT", "ACTIVATION"}


def test_parameters_that_share_their_bytes_count_once() -> None:
    def weight(name: str, n: int, alias: str = "") -> Tensor:
        return Tensor(name, (n,), "float16", TensorKind.WEIGHT, alias)

    tensors = (weight("embed", 10, "tied"), weight("head", 10, "tied"), weight("ffn", 5), X)
    assert Graph("g", (*tensors, Y), (F,)).n_parameters == 15


def test_a_tensor_is_found_by_name() -> None:
    graph = Graph("g", (X, Y), (F,))
    assert graph.tensor("y") is Y
    with pytest.raises(InvalidInputError, match="unknown tensor 'yy'; did you mean 'y'"):
        graph.tensor("yy")


def test_a_tensor_may_be_read_once_a_loop_carries_it_or_its_alias_exists() -> None:
    body_in = Tensor("in", (3,), "int4", TensorKind.ACTIVATION)
    loop = Loop("l", 0, 1, 2, (Carry("x", "in", "y"),))
    Graph("g", (X, Y, body_in), (Op("f", "k", (Access("in", 2),), (Access("y", 2),)),), (loop,))
    state = Tensor("s", (3,), "int4", TensorKind.STATE, "group")
    seen = Tensor("v", (3,), "int4", TensorKind.ACTIVATION, "group")
    Graph("g", (state, seen, Y), (Op("f", "k", (Access("v", 2),), (Access("y", 2),)),))


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: Tensor("", (1,), "float32", TensorKind.INPUT), "needs a name"),
        (lambda: Tensor("x", (1,), "flot32", TensorKind.INPUT), "unknown dtype of tensor 'x' 'flot32'; did you mean"),
        (lambda: Tensor("x", (1, -1), "float32", TensorKind.INPUT), "negative extent"),
        (lambda: Access("x", -1), "streams -1 bytes"),
        (lambda: Op("f", "k", (), (), matrix_ops=-1), "negative operation count"),
        (lambda: Op("f", "k", (), (), dtype="f33"), "unknown dtype of op 'f'"),
        (lambda: Loop("l", 2, 1, 1), r"loop 'l' over \[2, 1\)"),
        (lambda: Loop("l", 0, 1, -1), "x -1 is not one"),
        (lambda: Graph("g", (X,), ()), "has no operation"),
        (lambda: Graph("g", (X, X, Y), (F,)), "two tensors of one name"),
        (lambda: Graph("g", (X, Y), (F, F)), "two operations of one name"),
        (lambda: Graph("g", (X, Y), (F,), (Loop("l", 0, 2, 1),)), "beyond its last operation"),
        (lambda: Graph("g", (X,), (F,)), "unknown tensor in op 'f' 'y'"),
        (lambda: Graph("g", (X, Y), (Op("h", "k", (Access("y", 2),), ()), F)), "op 'h' reads 'y' before it is written"),
    ],
)
def test_nonsense_is_refused(make: object, message: str) -> None:
    with pytest.raises(InvalidInputError, match=message):
        make()  # type: ignore[operator]
