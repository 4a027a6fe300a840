"""`module:function`, `file.py:function`, declared arguments, shapes in words, and all that can be wrong there."""

import subprocess
import sys
from pathlib import Path

import jax
import jax.numpy as jnp
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tierplan.frontend.jax_function import load, trace
from tierplan.frontend.jaxpr_shapes import read_shapes
from tierplan.ir.errors import InvalidInputError, MissingDependencyError
from tierplan.ir.graph import TensorKind

EXAMPLE = str(Path(__file__).parent.parent / "examples" / "transformer_block.py")

MODULE = """
import jax
import jax.numpy as jnp

S = jax.ShapeDtypeStruct
example_args = {"plain": (S((4, 8), jnp.float32),), "listed": [1], "branching": (S((4, 8), jnp.float32),)}
weights = {"plain": (0,), "product": "all"}
cyclic = {"plain": True}
number = 3


def plain(x):
    return x + 1


def product(a, b):
    return a @ b


def listed(x):
    return x


def branching(x):
    return x if x.sum() > 0 else -x


def outside(x):
    import numpy as np

    return np.asarray(x) + 1


class Model:
    def forward(x):
        return x * 2
"""


@pytest.fixture
def here(tmp_path, monkeypatch):
    """A folder with `jaxmodel.py` in it, where we are."""
    (tmp_path / "jaxmodel.py").write_text(MODULE)
    monkeypatch.chdir(tmp_path)
    yield tmp_path
    for name in ("jaxmodel", "broken", "hungry"):
        sys.modules.pop(name, None)


@pytest.mark.parametrize("spec", ["jaxmodel:plain", "jaxmodel.py:plain", "./jaxmodel.py:plain"])
def test_a_function_is_found_with_what_its_module_declares(here, spec):
    graph = load(spec)
    assert (graph.name, graph.cyclic) == (spec, True)
    assert [(t.name, t.kind) for t in graph.tensors] == [("x", TensorKind.WEIGHT), ("result", TensorKind.OUTPUT)]
    assert str(here) not in sys.path


def test_shapes_take_the_place_of_declared_arguments(here):
    graph = load("jaxmodel.py:plain", "bf16[2, 3]")
    assert (graph.tensors[0].shape, graph.tensors[0].dtype) == ((2, 3), "bfloat16")
    assert load("jaxmodel.py:Model.forward", "f32[4]").ops[0].kind == "mul"


def test_example_args_may_be_computed(here):
    text = MODULE.replace('example_args = {"plain"', 'example_args = lambda: {"plain"')
    Path("lazy.py").write_text(text)
    assert load("lazy.py:plain").tensors[0].shape == (4, 8)


def test_the_example_is_a_two_layer_block_and_its_gradient():
    forward, backward = load(f"{EXAMPLE}:block"), load(f"{EXAMPLE}:loss_and_grad")
    assert forward.n_parameters == backward.n_parameters == 2 * (4 * 1024**2 + 3 * 1024 * 4096 + 2 * 1024)
    products = [sum(op.matrix_ops for op in graph.ops) for graph in (forward, backward)]
    tokens = 4 * 512
    assert products[0] == 2 * (2 * tokens * (4 * 1024**2 + 3 * 1024 * 4096) + 4 * 4 * 512**2 * 1024)
    assert products[1] == 3 * products[0]
    gradients = [t for t in backward.tensors if t.kind is TensorKind.OUTPUT and t.shape]
    assert len(gradients) == sum(t.kind is TensorKind.WEIGHT for t in backward.tensors) == 18
    moved = [
        sum(a.bytes for op in graph.ops for a in (*op.reads, *op.writes))
        for graph in (backward, load(f"{EXAMPLE}:loss_and_grad", fuse=False))
    ]
    assert moved[0] < 0.5 * moved[1]


@pytest.mark.parametrize(
    ("spec", "shapes", "message"),
    [
        ("plain", None, r"write module:function"),
        ("jaxmodel:", None, r"write module:function"),
        ("jaxmodle:plain", None, r"no module 'jaxmodle'.*did you mean 'jaxmodel'"),
        ("nowhere:plain", None, r"no module 'nowhere'"),
        ("jaxmodle.py:plain", None, r"no file 'jaxmodle.py'.*did you mean 'jaxmodel.py'"),
        ("jaxmodel:plian", None, r"has no 'plian'.*did you mean 'plain'.*It has: .*product"),
        ("jaxmodel:number", None, r"is a int, not a function"),
        ("jaxmodel:product", None, r"no example arguments.*example_args = \{'product'.*--shapes"),
        ("jaxmodel:product", "f32[2,2],f32[2,2]", r"weights declared for 'jaxmodel:product' is 'all'"),
        ("jaxmodel:listed", None, r"example_args of 'jaxmodel:listed' is a list; write a tuple"),
        ("jaxmodel:plain", "f32[2],f32[2]", r"takes \(x\), but 2 example arguments"),
        ("jaxmodel:branching", None, r"TracerBoolConversionError.*jnp.where or jax.lax.cond"),
        ("jaxmodel:outside", "f32[2]", r"TracerArrayConversionError.*jax.numpy instead of numpy"),
    ],
)
def test_mistakes_are_one_line_that_says_what_to_write(here, spec, shapes, message):
    with pytest.raises(InvalidInputError, match=message) as caught:
        load(spec, shapes)
    assert "\n" not in str(caught.value)
    assert len(str(caught.value)) < 600


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("def f(:", r"file 'broken.py' fails when imported: SyntaxError: .*line 1"),
        ("1 / 0", r"ZeroDivisionError: division by zero"),
        ("import not_there_at_all", r"ModuleNotFoundError|imports 'not_there_at_all'"),
    ],
)
def test_a_module_that_fails_says_why(here, text, message):
    Path("broken.py").write_text(text)
    for spec in ("broken.py:f", "broken:f"):
        with pytest.raises(InvalidInputError, match=message.replace("file 'broken.py'", ".*")) as caught:
            load(spec)
        assert "\n" not in str(caught.value)


def test_arguments_that_do_not_fit_give_jaxs_own_words():
    with pytest.raises(
        InvalidInputError, match=r"cannot trace 'product': TypeError: .*got \(3,\) and \(2,\).*; check the shapes"
    ):
        trace(lambda a, b: a @ b, read_shapes("f32[2,3],f32[2,3]"), name="product")


@pytest.mark.parametrize("text", ["f32[8,128],bf16[128,256]", " f32 [ 8 , 128 ] , bf16[128,256] "])
def test_shapes_are_read(text):
    assert read_shapes(text) == (
        jax.ShapeDtypeStruct((8, 128), jnp.float32),
        jax.ShapeDtypeStruct((128, 256), jnp.bfloat16),
    )


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", r"position 1: expected an element type, found the end"),
        ("f32", r"position 4: expected '\[', found the end"),
        ("f32[8,", r"position 7: expected an extent"),
        ("f32[8 8]", r"position 7: expected ',', found '8'"),
        ("f32[8],", r"position 8: expected an element type"),
        ("f32[8]f32[8]", r"position 7: expected ',', found 'f32'"),
        ("f32[-1]", r"position 5: expected an extent"),
        ("f32[0]", r"position 5: expected an extent"),
        ("f32[99999999999999999999]", r"position 5: expected an extent"),
        ("[8]", r"position 1: expected an element type"),
        ("{f32[8]}", r"position 1.*nested arguments go into the module's example_args"),
        ("flaot32[8]", r"unknown dtype 'flaot32'; did you mean 'float32'"),
        ("f64[8]", r"position 1: expected a type of at most 32 bits"),
    ],
)
def test_wrong_shapes_say_at_which_position(text, message):
    with pytest.raises(InvalidInputError, match=message):
        read_shapes(text)


@given(st.text(alphabet="f32bi16[], 8x", max_size=14))
def test_no_text_breaks_the_shape_reader(text):
    try:
        arrays = read_shapes(text)
    except InvalidInputError:
        return
    assert all(extent > 0 for array in arrays for extent in array.shape)


def test_a_negative_trip_count_is_refused():
    with pytest.raises(InvalidInputError, match="-1 times"):
        trace(jnp.sin, read_shapes("f32[2]"), name="sin", trips=-1)


def test_without_jax_the_line_to_install_it_is_given(monkeypatch):
    monkeypatch.setitem(sys.modules, "jax", None)
    with pytest.raises(MissingDependencyError, match=r"pip install 'tierplan\[jax\]'"):
        load("anything:at_all")


def test_jax_is_imported_only_when_a_function_is_traced():
    check = "import sys, tierplan.frontend.jax_function; sys.exit('jax' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", check], check=False).returncode == 0
