"""Specs of small sweeps, for a machine and a model that cost nothing."""

from pathlib import Path
from typing import Any

import yaml

BUFFERS = "id,lower,upper,size\na,0,3,400\nb,1,4,300\nc,3,5,500\n"
MACHINE = """\
schema: 1
name: bench
home: far
compute:
  matrix: {bfloat16: 1 Tflop/s}
  vector: {float32: 1 Tflop/s}
tiers:
  - {name: near, capacity: 64 kB, bandwidth: 100 GB/s, price: 10 USD/GB}
  - {name: far, capacity: 1 MB, bandwidth: 1 GB/s}
links:
  - {from: far, to: near, bandwidth: 1 GB/s, duplex: true}
"""
SPEC: dict[str, Any] = {
    "sweep": 1,
    "models": ["buffers.csv"],
    "hardware": [
        {
            "base": "bench.yaml",
            "set": {
                "tiers.near.capacity": ["200 B", "500 B", "1 kB"],
                "links.near->far.bandwidth": ["1 GB/s", "2 GB/s"],
            },
        }
    ],
    "planners": ["greedy", "msa"],
}


def spec(**changes: Any) -> str:
    """The text of the small spec with other values; None leaves a key out."""
    return yaml.safe_dump(
        {key: value for key, value in {**SPEC, **changes}.items() if value is not None}, sort_keys=False
    )


def write_inputs(folder: Path) -> None:
    """The files that the small spec names."""
    (folder / "buffers.csv").write_text(BUFFERS, encoding="utf-8")
    (folder / "bench.yaml").write_text(MACHINE, encoding="utf-8")
    (folder / "sweep.yaml").write_text(spec(), encoding="utf-8")
