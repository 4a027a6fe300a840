"""The peak of device memory falls as planned: `tierplan.jax.offload` on a GPU, measured beside the plan.

    python benchmarks/jax_offload.py [--layers 24] [--width 2048] [--rows 16384] [--share 0.5] [--hardware h100]

Plans value and gradient of a stack of layers for a machine whose device memory is a share of what the program takes
when all of it lies there; then runs both, each in a process of its own, and prints the device's own peak
(`memory_stats()["peak_bytes_in_use"]`) beside the plan's, their ratio, and how far results are apart. Where JAX sees no
GPU there is nothing to measure, and it says so: its figures are then those of the plan alone, and exit code 3.
"""

import argparse
import json
import subprocess
import sys

ROWS = ("whole", "planned")


def main() -> int:
    """Plan, run both ways, compare; 0 when both peaks are within a tenth of the plan's, 1 if not, 3 without a GPU."""
    options = _options()
    if options.run:
        print(json.dumps(_run(options)))
        return 0
    results: list[dict[str, float]] = []
    for row in ROWS:
        told = subprocess.run(
            [sys.executable, __file__, *sys.argv[1:], "--run", row], capture_output=True, text=True, check=False
        )
        if told.returncode:
            sys.stderr.write(told.stderr)
            return told.returncode
        results.append(json.loads(told.stdout.splitlines()[-1]))
    print("program,planned_peak_bytes,measured_peak_bytes,ratio,checksum")
    good = True
    for row, result in zip(ROWS, results, strict=True):
        measured = result["measured"]
        ratio = measured / result["planned"] if measured else float("nan")
        good = good and abs(ratio - 1) <= 0.1
        print(f"{row},{result['planned']:.0f},{measured or 'none'},{ratio:.3f},{result['checksum']:.6g}")
    apart = abs(results[0]["checksum"] - results[1]["checksum"]) / abs(results[0]["checksum"])
    print(f"results are {apart:.1e} apart", file=sys.stderr)
    if not results[0]["measured"]:
        print("no GPU here: JAX sees none, so no peak was measured", file=sys.stderr)
        return 3
    return 0 if good else 1


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--layers", type=int, default=24)
    parser.add_argument("--width", type=int, default=2048)
    parser.add_argument("--rows", type=int, default=16384)
    parser.add_argument("--share", type=float, default=0.5)
    parser.add_argument("--hardware", default="h100")
    parser.add_argument("--run", choices=ROWS, help=argparse.SUPPRESS)
    return parser.parse_args()


def _run(options: argparse.Namespace) -> dict[str, float]:
    import jax
    import jax.numpy as jnp

    import tierplan
    import tierplan.jax
    from tierplan.runtimes.places import Device, peak_bytes

    gpu = jax.default_backend() == "gpu"
    scale = 1 if gpu else 16  # without a GPU: the same program small, to see that it plans and runs
    width, rows = options.width // scale, options.rows // scale
    shape = jax.ShapeDtypeStruct
    args = [shape((width, width), jnp.bfloat16)] * options.layers, shape((rows, width), jnp.bfloat16)

    def loss(weights: list[jax.Array], x: jax.Array) -> jax.Array:
        for w in weights:
            x = jnp.tanh(x @ w)
        return jnp.mean(x.astype(jnp.float32) ** 2)

    graded = jax.value_and_grad(loss)
    machine = tierplan.load_machine(options.hardware)
    problem = tierplan.lower(graded, machine, args=args)
    outcome = tierplan.plan(problem, machine, planner="greedy", budget=60.0)
    assert outcome.plan is not None
    peak = peak_bytes(problem, outcome.plan, Device.GPU)
    if options.run == "planned":
        machine = tierplan.jax.limited(machine, int(options.share * peak))
        problem = tierplan.lower(graded, machine, args=args)
        outcome = tierplan.plan(problem, machine, planner="greedy", budget=60.0)
        if outcome.plan is None:
            sys.exit(f"no plan within {options.share:.0%} of {peak} bytes: {outcome.status.value}")
        peak = peak_bytes(problem, outcome.plan, Device.GPU)
    function = tierplan.jax.offload(graded, outcome.plan, problem=problem)
    keys = jax.random.split(jax.random.key(0), options.layers + 1)
    weights = [jax.random.normal(k, (width, width), jnp.bfloat16) / width**0.5 for k in keys[:-1]]
    x = jax.random.normal(keys[-1], (rows, width), jnp.bfloat16)
    value, gradients = jax.block_until_ready(jax.jit(function)(weights, x))
    stats = jax.devices()[0].memory_stats() if gpu else None
    measured = (stats or {}).get("peak_bytes_in_use", 0)
    total = value + sum(jnp.abs(g.astype(jnp.float32)).sum() for g in gradients)
    return {"planned": peak, "measured": measured, "checksum": float(total)}


if __name__ == "__main__":
    sys.exit(main())
