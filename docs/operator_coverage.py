"""Write the tables of operator coverage into docs/frontends.md, from the tables that the frontends work with.

python docs/operator_coverage.py          # writes
python docs/operator_coverage.py --check  # exit 1 where the file is not current
"""

import sys
from collections.abc import Iterable
from pathlib import Path

import onnx

from tierplan.einsum.lower_kernel import PRIMITIVES
from tierplan.frontend.aten_operators import HANDLERS as ATEN
from tierplan.frontend.jaxpr_counts import ELEMENTWISE, MOVEMENT, REDUCTIONS, SCATTERS, is_counted
from tierplan.frontend.onnx_control import CONTROL
from tierplan.frontend.onnx_operators import HANDLERS as ONNX
from tierplan.frontend.onnx_shapes import BOUNDED

FILE = Path(__file__).resolve().parent / "frontends.md"
BEGIN, END = (
    "<!-- operator coverage: begin, written by docs/operator_coverage.py -->",
    "<!-- operator coverage: end -->",
)


def tables() -> str:
    """All tables as markdown."""
    known = {*ELEMENTWISE, *MOVEMENT, *REDUCTIONS, *SCATTERS, *PRIMITIVES}
    known |= {"cholesky", "triangular_solve", "fft", "random_bits", "threefry2x32", "cumlogsumexp"}
    counted = {name for name in known if is_counted(name)}
    standard = {schema.name for schema in onnx.defs.get_all_schemas() if schema.domain == "" and not schema.deprecated}
    translated = set(ONNX[""]) - set(BOUNDED)
    rows = [
        ("JAX", "operations counted, cascade of Einsums", counted & set(PRIMITIVES)),
        ("JAX", "operations counted, no cascade", counted - set(PRIMITIVES)),
        ("ONNX", "translated into the primitives above", translated),
        ("ONNX", "kept as loops; the branch that is known, else the costlier one", CONTROL),
        ("ONNX", "bytes alone, of the largest result that may come out", BOUNDED),
        ("ONNX", "bytes alone, where the file says the shape", standard - set(ONNX[""]) - set(CONTROL)),
        ("ONNX, com.microsoft", "translated into the primitives above", ONNX["com.microsoft"]),
        ("PyTorch (ATen)", "translated into the primitives above", ATEN),
        ("PyTorch (ATen)", "bytes alone", ["every other one"]),
    ]
    lines = ["| frontend | cost | operators |", "|---|---|---|"]
    lines += [f"| {frontend} | {cost} | {listed(names)} |" for frontend, cost, names in rows]
    return "\n".join(lines)


def listed(names: Iterable[str]) -> str:
    """Names in order, none twice."""
    return ", ".join(sorted(set(names), key=lambda name: (name.lower(), name)))


def current(text: str) -> str:
    """The document with the tables as they should be."""
    before, begin, rest = text.partition(BEGIN)
    _, end, after = rest.partition(END)
    if not begin or not end:
        raise SystemExit(f"{FILE.name} lacks the lines '{BEGIN}' and '{END}'")
    return f"{before}{BEGIN}\n{tables()}\n{END}{after}"


def main() -> None:
    """Write the tables, or say whether they are current."""
    text = FILE.read_text(encoding="utf-8")
    if "--check" in sys.argv:
        sys.exit(text != current(text))
    FILE.write_text(current(text), encoding="utf-8")


if __name__ == "__main__":
    main()
