"""Rates of operations by element type: matrix products of numpy and JAX, and multiply-adds out of the nearest cache."""

# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false, reportUnknownArgumentType=false
# pyright: reportUnknownLambdaType=false

import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

import numpy as np

from tierplan.measure_spread import Spread

_FIRST, _LARGEST = 128, 4096  # elements along each side of a product
_CALL_S = 0.05  # a product that takes so long is large enough
_VECTOR_ELEMENTS = 2048
_VECTOR_TURNS = 4000
_JAX_DTYPES = ("float32", "bfloat16", "float16")


@dataclass(frozen=True, slots=True)
class ComputeRate:
    """Operations per second in one element type; `by` says what ran them, and on what."""

    unit: str
    dtype: str
    by: str
    rate: Spread


def numpy_rates(repeats: int, advance: Callable[[int], None]) -> list[ComputeRate]:
    """Square products by numpy's BLAS, with as many threads as it takes by itself."""
    found: list[ComputeRate] = []
    random = np.random.default_rng(0)
    for dtype in ("float32", "float64"):

        def product(n: int, dtype: str = dtype) -> Callable[[], object]:
            a, b = (random.standard_normal((n, n)).astype(dtype) for _ in range(2))
            out = np.empty_like(a)
            return lambda: np.matmul(a, b, out=out)

        found.append(ComputeRate("matrix", dtype, "numpy", Spread.of(_product_rates(product, repeats))))
        advance(1)
    return found


def vector_rate(threads: int, repeats: int, advance: Callable[[int], None]) -> ComputeRate:
    """Multiply-adds on a block in the nearest cache of each core; each counts as two operations."""
    from tierplan import _kernels

    blocks = [np.ones(_VECTOR_ELEMENTS, dtype=np.float32) for _ in range(threads)]
    _kernels.multiply_add(blocks[0], 1)
    rates: list[float] = []
    with ThreadPoolExecutor(threads) as pool:
        for _ in range(repeats):
            began = time.perf_counter()
            for running in [pool.submit(_kernels.multiply_add, block, _VECTOR_TURNS) for block in blocks]:
                running.result()
            rates.append(2 * threads * _VECTOR_ELEMENTS * _VECTOR_TURNS / (time.perf_counter() - began))
    advance(1)
    return ComputeRate("vector", "float32", f"{threads} threads", Spread.of(rates))


def jax_rates(device: Any, repeats: int, advance: Callable[[int], None]) -> list[ComputeRate]:
    """Square products by JAX on one device; types that it cannot multiply are left out."""
    import jax
    import jax.numpy as jnp

    multiply = jax.jit(jnp.matmul)
    found: list[ComputeRate] = []
    for dtype in _JAX_DTYPES:

        def product(n: int, dtype: str = dtype) -> Callable[[], object]:
            a, b = (jax.device_put(jnp.ones((n, n), dtype=dtype), device) for _ in range(2))
            multiply(a, b).block_until_ready()
            return lambda: multiply(a, b).block_until_ready()

        found.append(
            ComputeRate("matrix", dtype, f"JAX on {device.platform}", Spread.of(_product_rates(product, repeats)))
        )
        advance(1)
    return found


def n_jax_rates() -> int:
    """How many rates `jax_rates` measures."""
    return len(_JAX_DTYPES)


def _product_rates(product: Callable[[int], Callable[[], object]], repeats: int) -> Sequence[float]:
    """Operations per second of products large enough to time: sides double until one takes `_CALL_S`."""
    n, run = _FIRST, product(_FIRST)
    while n * 2 <= _LARGEST and 4 * min(_seconds(run) for _ in range(3)) < _CALL_S:
        n *= 2
        run = product(n)
    run()
    rates: list[float] = []
    for _ in range(repeats):
        began, calls = time.perf_counter(), 0
        while not calls or time.perf_counter() - began < _CALL_S:
            run()
            calls += 1
        rates.append(calls * 2.0 * n**3 / (time.perf_counter() - began))
    return rates


def _seconds(run: Callable[[], object]) -> float:
    began = time.perf_counter()
    run()
    return time.perf_counter() - began
