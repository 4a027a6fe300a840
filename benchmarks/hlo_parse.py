"""CPU seconds to read HLO text of 100,000 instructions, and to make its graph.

python benchmarks/hlo_parse.py [instructions]

The text is that of a compiled training step (gpt2-train of the catalogue), its metadata included, with the
computations repeated under other names, each copy called from the one before.
"""

import re
import sys
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))

from programs.catalog import programs

from tierplan.frontend.hlo_graph import graph_of_hlo
from tierplan.frontend.hlo_parse import read_hlo
from tierplan.frontend.xla_compile import compile_function

_NAME = re.compile(r"(?<![\w\"])%([\w.\-]+)")


def repeated(text: str, n_instructions: int) -> str:
    """A module of at least so many instructions: a chain of calls of the module's entry."""
    module = read_hlo(text, "original")
    head, _, body = text.partition("\n\n%")
    n_copies = -(-n_instructions // module.n_instructions)
    copies = [_NAME.sub(rf"%\1.copy{k}", "%" + body).replace("ENTRY ", "") for k in range(n_copies)]
    entry = module.entry
    shapes = [re.search(rf"%{re.escape(p.name)} = (.*?) parameter\(", text) for p in entry.parameters]
    root = re.search(r"ENTRY [^\n]*->\s*(.*?) \{\n(?:.*\n)*?  ROOT %\S+ = (\(.*?\)) tuple\(", text)
    assert root is not None
    lines = [f"  %p{i} = {s.group(1)} parameter({i})" for i, s in enumerate(shapes) if s is not None]
    given = ", ".join(f"%p{i}" for i in range(len(shapes)))
    lines += [f"  %c{k} = {root.group(2)} call({given}), to_apply=%{entry.name}.copy{k}" for k in range(n_copies)]
    lines[-1] = lines[-1].replace("  %", "  ROOT %", 1)
    return "\n\n".join([head, *copies, "ENTRY %all () -> () {\n" + "\n".join(lines) + "\n}"])


def main() -> None:
    """Print sizes and times."""
    count = int(sys.argv[1]) if len(sys.argv) > 1 else 100_000
    name, fn, args = next(entry for entry in programs() if entry[0] == "gpt2-train")
    text = repeated(compile_function(fn, args, name).text, count)
    began = time.process_time()
    module = read_hlo(text, name)
    read = time.process_time()
    graph = graph_of_hlo(text, name)
    made = time.process_time()
    print(f"{module.n_instructions:,} instructions, {len(text) / 1e6:.1f} MB: read in {read - began:.2f} CPU s")
    print(f"read and made into a graph of {len(graph.ops):,} operations in {made - read:.2f} CPU s")


if __name__ == "__main__":
    main()
