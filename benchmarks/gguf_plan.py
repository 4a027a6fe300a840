"""Claim: a GGUF file of 42 GB is planned without reading its data; seconds of reading it, and of the whole command.

    python benchmarks/gguf_plan.py [BUDGET] [TIMES]

The file is a hole behind the header of a llama of 70 billion parameters in q4_k_m, its vocabulary of 128,256 words and
280,147 merges included. One command runs first, so that the kernels of the search are compiled.
"""

import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent.parent / "tests"))

from model_files import llama_gguf, llama_metadata, write_gguf

from tierplan.frontend.checkpoint import checkpoint_graph
from tierplan.frontend.gguf import read_gguf
from tierplan.frontend.gguf_model import read_gguf_model

WORDS, MERGES = 128_256, 280_147


def written(folder: Path) -> Path:
    """The file."""
    words = {
        "tokenizer.ggml.tokens": [f"word{n}" for n in range(WORDS)],
        "tokenizer.ggml.token_type": [1] * WORDS,
        "tokenizer.ggml.merges": [f"a{n} b{n}" for n in range(MERGES)],
    }
    metadata = llama_metadata(8192, 80, 64, 8, 28672, **words)
    return write_gguf(folder / "llama-70b-q4_k_m.gguf", metadata, llama_gguf(8192, 80, 1024, 28672, WORDS))


def planned(path: Path, budget: str) -> tuple[float, float]:
    """Seconds on the clock and of the processor that the command takes."""
    command = [sys.executable, "-c", "from tierplan.cli import main; main()", "plan", str(path)]
    options = ["--hardware", "laptop", "--budget", budget]
    began, before = time.perf_counter(), os.times()
    subprocess.run([*command, *options], check=True, stdout=subprocess.DEVNULL)
    after = os.times()
    used = after.children_user + after.children_system - before.children_user - before.children_system
    return time.perf_counter() - began, used


def main() -> None:
    """Print the seconds."""
    budget, times = sys.argv[1] if len(sys.argv) > 1 else "500ms", int(sys.argv[2]) if len(sys.argv) > 2 else 3
    with tempfile.TemporaryDirectory() as folder:
        path = written(Path(folder))
        n_read, began = read_gguf(path).n_read, time.process_time()
        graph = checkpoint_graph(read_gguf_model(path), phase=None, batch=None, context=None, dtype=None)
        read_s = time.process_time() - began
        print(f"{path.stat().st_size / 1e9:.1f} GB, of which {n_read / 1e6:.1f} MB are read")
        print(f"read and made into a graph of {len(graph.ops):,} operations in {read_s:.2f} CPU s")
        planned(path, budget)
        for _ in range(times):
            wall_s, cpu_s = planned(path, budget)
            print(f"tierplan plan --budget {budget}: {wall_s:.2f} s, {cpu_s:.2f} CPU s")
    print(f"load {os.getloadavg()[0]:.1f} on {os.cpu_count()} cores")


if __name__ == "__main__":
    main()
