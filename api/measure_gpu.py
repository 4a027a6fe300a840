"""Memory and links of a GPU that JAX sees."""

# pyright: reportUnknownLambdaType=false
# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false, reportUnknownArgumentType=false

import os
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from tierplan.measure_spread import Spread

_BYTES = 256 * 2**20


@dataclass(frozen=True, slots=True)
class GpuFigures:
    """A GPU's memory: its bytes, its bandwidth (reads plus writes of a copy), and its links with main memory."""

    name: str
    capacity: int
    memory: Spread
    to_gpu: Spread
    to_host: Spread


def first_gpu() -> Any | None:
    """The first GPU that JAX sees; None without one, or without JAX."""
    devices = jax_devices()
    return next((device for device in devices if device.platform == "gpu"), None)


def jax_devices() -> list[Any]:
    """The devices of JAX's default backend; none if JAX is not installed, or its backend does not start."""
    os.environ.setdefault("XLA_PYTHON_CLIENT_PREALLOCATE", "false")  # or it takes most of the GPU's memory
    try:
        import jax

        return list(jax.devices())
    except (ImportError, RuntimeError):
        return []


def gpu_figures(device: Any, repeats: int, advance: Callable[[int], None]) -> GpuFigures:
    """Copies within the GPU's memory, and to and from it."""
    import jax
    import jax.numpy as jnp

    stats = device.memory_stats() or {}
    host = np.ones(_BYTES // 4, dtype=np.float32)
    there = jax.device_put(host, device).block_until_ready()
    step = jax.jit(lambda x: x + jnp.float32(1))
    step(there).block_until_ready()
    rates: tuple[list[float], list[float], list[float]] = ([], [], [])
    for _ in range(repeats):
        ways: tuple[Callable[[], Any], ...] = (
            lambda: step(there).block_until_ready(),
            lambda: jax.device_put(host, device).block_until_ready(),
            lambda: np.asarray(jnp.copy(there)),  # a new one each time: JAX keeps what it has sent
        )
        for way, of_way, n_bytes in zip(ways, rates, (2 * _BYTES, _BYTES, _BYTES), strict=True):
            began = time.perf_counter()
            way()
            of_way.append(n_bytes / (time.perf_counter() - began))
        advance(1)
    memory, to_gpu, to_host = (Spread.of(of_way) for of_way in rates)
    return GpuFigures(str(device.device_kind), int(stats.get("bytes_limit", 0)), memory, to_gpu, to_host)
