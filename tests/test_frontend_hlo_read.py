"""Reading HLO text: what a module says, and what is refused and how."""

import pytest
from hlo_samples import TEXTS

from tierplan.frontend.hlo_graph import graph_of_hlo
from tierplan.frontend.hlo_parse import read_hlo
from tierplan.frontend.hlo_shape import read_shape
from tierplan.ir.errors import InvalidInputError


def test_a_module_tells_its_computations_schedule_and_aliases():
    module = read_hlo(TEXTS["tiled"], "tiled")
    assert (module.name, module.scheduled, module.entry.name) == ("tiled", True, "main")
    assert list(module.computations) == ["sum", "async_computation", "update", "main"]
    assert [(a.output, a.parameter, a.place) for a in module.aliased] == [((0,), 0, ()), ((1,), 2, (1,))]
    assert module.order.index("update") < module.order.index("main")
    by_name = module.entry.by_name
    assert by_name["matrix"].argument.split() == ["{", "{", "1,", "2", "},", "{", "3,", "4", "}", "}"]
    assert by_name["weights"].operands == ("pair",)
    assert by_name["fusion"].called == {"calls": ("update",)}
    assert by_name["result"].operands == ("fusion", "doubled", "async-done", "weights")


@pytest.mark.parametrize(
    ("text", "dtype", "extents", "axes", "n_bytes"),
    [
        ("f32[]", "float32", (), (), 4),
        ("bf16[8,128]{0,1:T(8,128)(2,1)S(1)}", "bfloat16", (8, 128), (0, 1), 2048),
        ("s4[64]{0:T(512)E(4)}", "int4", (64,), (0,), 32),
        ("s4[64]{0}", "int4", (64,), (0,), 64),
        ("pred[3,0]", "bool", (3, 0), (1, 0), 0),
        ("f8e4m3fn[7]", "float8_e4m3fn", (7,), (0,), 7),
        ("f8e5m2fnuz[7]", "float8_e5m2", (7,), (0,), 7),
        ("c128[2]", "complex128", (2,), (0,), 32),
        ("f32[<=5,2]{1,0}", "float32", (5, 2), (1, 0), 40),
        ("token[]", "bool", (), (), 0),
    ],
)
def test_shapes(text, dtype, extents, axes, n_bytes):
    shape, stop = read_shape(text)
    assert (shape.dtype, shape.extents, shape.minor_to_major, shape.n_bytes) == (dtype, extents, axes, n_bytes)
    assert stop == len(text)


def test_a_tuple_is_a_table_of_pointers():
    shape, _ = read_shape("(f32[2]{0}, (s32[], /*no comment here*/ pred[4]))".replace("/*no comment here*/ ", ""))
    assert shape.n_bytes == 16
    assert [index for index, _ in shape.places()] == [(), (0,), (1,), (1, 0), (1, 1)]
    assert [leaf.n_bytes for _, leaf in shape.leaves()] == [8, 4, 4]


def entry(*lines: str, head: str = "") -> str:
    return f"HloModule m{head}\n\nENTRY main {{\n" + "\n".join(f"  {line}" for line in lines) + "\n}\n"


X = "x = f32[4]{0} parameter(0)"
DEEP = "".join(
    f"c{k} {{\n  p = f32[4] parameter(0)\n  a = f32[4] call(p), to_apply=c{k + 1}\n"
    f"  ROOT b = f32[4] call(a), to_apply=c{k + 1}\n}}\n"
    for k in range(60)
)
LAST = "c60 {\n  p = f32[4] parameter(0)\n  ROOT n = f32[4] negate(p)\n}\n"
LONG = "".join(
    f"c{k} {{\n  p = f32[4] parameter(0)\n  ROOT b = f32[4] call(p), to_apply=c{k + 1}\n}}\n" for k in range(5000)
)

SUM = "sum {\n  a = f32[] parameter(0)\n  b = f32[] parameter(1)\n  ROOT c = f32[] add(a, b)\n}\n"

BAD = {
    "empty": ("", "begins with 'HloModule"),
    "no module": ("func.func @main() {}", "begins with 'HloModule NAME', not 'func.func @main() {}'"),
    "stablehlo": ("module @jit_f {\n}", "of StableHLO write lowered.as_text('hlo') instead"),
    "truncated": (entry(X)[:-3], "line 4: computation 'main' of line 3 has no end; the file may be truncated"),
    "open parenthesis": (entry(X, "y = f32[4] negate(x"), "has no end; the file may be truncated"),
    "open string": (entry(X, 'y = f32[4] negate("x)'), "a string never ends"),
    "no shape": (entry("x = parameter(0)"), "line 4: 'x': expected SHAPE OPCODE"),
    "no such type": (entry("x = f33[4] parameter(0)"), "unknown element type 'f33'; did you mean 'f32'?"),
    "too large": (entry(f"x = f32[{2**62}] parameter(0)"), "more than 2**62 bytes"),
    "layout": (entry("x = f32[4,4]{0,0} parameter(0)"), "does not order the 2 axes"),
    "deep tuple": (entry("x = " + "(" * 500 + ")" * 500 + " parameter(0)"), "nested more than 64 deep"),
    "missing operand": (entry(X, "ROOT y = f32[4] negate(z)"), "line 5: 'y' reads 'z', which is not there"),
    "twice": (entry(X, X), "instruction 'x' is already on line 4"),
    "missing computation": (
        entry(X, "ROOT y = f32[4] call(x), to_apply=mian"),
        "calls 'mian', which is not there; did you mean 'main'?",
    ),
    "no computation named": (entry(X, "ROOT y = f32[4] fusion(x), kind=kLoop"), "is a fusion that names no calls"),
    "calls itself": (entry(X, "ROOT y = f32[4] call(x), to_apply=main"), "computation 'main' calls itself"),
    "needs itself": (entry(X, "a = f32[4] negate(b)", "ROOT b = f32[4] negate(a)"), "needs its own result"),
    "schedule": (
        entry("y = f32[4] negate(x)", X, head=", is_scheduled=true"),
        "'y' reads 'x' before the schedule makes it",
    ),
    "operands": (entry(X, "ROOT y = f32[4] add(x)"), "has 1 operands; add takes 2"),
    "element": (entry(X, "ROOT y = f32[4] get-tuple-element(x), index=0"), "takes element 0 of 0"),
    "tuple": (entry(X, "ROOT y = (f32[5]) tuple(x)"), "has another shape than its operands"),
    "transpose": (entry(X, "ROOT y = f32[4] transpose(x), dimensions={1}"), "permutes 1 axes by [1]"),
    "contraction": (
        entry(X, "ROOT y = f32[] dot(x, x), lhs_contracting_dims={3}, rhs_contracting_dims={0}"),
        "line 5: the attributes of dot 'y' do not fit its shapes",
    ),
    "second root": (entry("ROOT " + X, "ROOT y = f32[4] negate(x)"), "has a second ROOT"),
    "parameters": (entry("x = f32[4] parameter(1)"), "parameter(1) is repeated or no number"),
    "alias": (entry(X, head=", input_output_alias={ {3}: (0, {}) }"), "names output {3}, which is not there"),
    "explosion": (
        f"HloModule m\n{DEEP}{LAST}" + entry(X, "ROOT y = f32[4] call(x), to_apply=c0")[11:],
        "expand to more",
    ),
    "too many bytes": (
        entry(f"x = f32[{2**59}] parameter(0)", f"y = f32[{2**59}] negate(x)", f"ROOT z = f32[{2**59}] sine(y)"),
        "holds or streams more than 2**62 bytes",
    ),
    "too many operations": (
        f"HloModule m\n{SUM}"
        + entry(
            "x = f32[8,8] parameter(0)",
            "z = f32[] constant(0)",
            f"ROOT y = f32[8,8] reduce-window(x, z), window={{size={10**19}x{10**19}}}, to_apply=sum",
        ).removeprefix("HloModule m"),
        "takes over 2**100 operations",
    ),
    "too many digits": (entry(f"x = f32[4] parameter({'9' * 5000})"), "has 5000 digits"),
    "long chain": (
        f"HloModule m\n{LONG}{LAST.replace('c60', 'c5000')}" + entry(X, "ROOT y = f32[4] call(x), to_apply=c0")[11:],
        "nested more than 60 deep",
    ),
}


@pytest.mark.parametrize("case", BAD)
def test_bad_modules_are_refused_in_one_line_that_names_the_file(case):
    text, told = BAD[case]
    with pytest.raises(InvalidInputError) as caught:
        graph_of_hlo(text, "bad.txt", cyclic=False)
    assert told in str(caught.value)
    assert "\n" not in str(caught.value)
    assert str(caught.value).startswith("bad.txt")
