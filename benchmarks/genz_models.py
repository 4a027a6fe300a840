"""What GenZ predicts for measured points; run by `accuracy_models.py` with the Python of an environment that has it.

    python -m venv genz && genz/bin/pip install genz-llm
    python benchmarks/accuracy_models.py --genz genz/bin/python

Reads one JSON object a line (extents of a model, a point, a device), writes one a line: milliseconds of reading one
prompt and of one decode step in the middle of writing, or null where GenZ refuses. GenZ models no serving loop, so its
time to first token is that of reading, and its time per output token that of a step.
"""

import contextlib
import json
import os
import sys
import warnings
from typing import Any

warnings.filterwarnings("ignore")


def predicted(row: dict[str, Any]) -> list[float] | None:
    """Milliseconds of reading and of a step."""
    from GenZ import decode_moddeling, prefill_moddeling  # pyright: ignore
    from GenZ.Models.default_models import ModelConfig  # pyright: ignore

    model = ModelConfig(model="asked", **row["model"])
    tp, ep = row["tp"], row["ep"]
    shared = {
        "model": model, "system_name": row["system"], "bits": row["bits"], "tensor_parallel": tp,
        "expert_parallel": ep, "parallelism_heirarchy": f"TP{{{tp}}}_EP{{{ep}}}_PP{{1}}",
    }  # fmt: skip
    try:
        reading = prefill_moddeling(batch_size=1, input_tokens=row["prompt"], **shared)
        step = decode_moddeling(
            batch_size=row["batch"], Bb=1, input_tokens=row["prompt"], output_tokens=row["new"] // 2, **shared
        )
    except (ValueError, AssertionError, KeyError, ZeroDivisionError, TypeError):
        return None
    return [float(reading["Latency"]), float(step["Latency"])]


def main() -> None:
    """Answer each line of standard input."""
    for line in sys.stdin:
        with open(os.devnull, "w") as nowhere, contextlib.redirect_stdout(nowhere):
            found = predicted(json.loads(line))
        print(json.dumps(found), flush=True)


if __name__ == "__main__":
    main()
