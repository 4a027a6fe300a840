"""Flags for `vllm serve`: how many bytes of weights stay off each GPU, and what the GPUs' memory is used for.

Source: vLLM, `vllm/engine/arg_utils.py` and `vllm/config` (CacheConfig, ParallelConfig, ModelConfig, SchedulerConfig).
"""

import math
import shlex

from tierplan.ir.errors import InvalidInputError
from tierplan.ir.graph import TensorKind
from tierplan.ir.plan_file import PlanFile
from tierplan.ir.units import show_bytes
from tierplan.runtimes.asked import Source, read_source
from tierplan.runtimes.emitted import Emitted, Wanted
from tierplan.runtimes.places import Device, bytes_on, capacity_bytes, devices_of, peak_bytes, places

NAME = "vllm"
_DTYPES = ("float16", "bfloat16", "float32")
_NOT_RUN = ("t5", "vit")
_TIGHT = 0.95


def emit(file: PlanFile, wanted: Wanted) -> Emitted:
    """The flags.

    Raises: InvalidInputError: a machine without GPU, weights on disk, a cache that is read from host memory, training,
        or a model or element type that vLLM does not run.
    """
    source = read_source(file, NAME, wanted.model)
    found = places(file.problem, file.plan).values()
    _check(file, source)
    cache = bytes_on(found, Device.CPU, TensorKind.STATE.value)
    if cache:
        raise InvalidInputError(
            f"vLLM keeps the cache of running sequences on the GPU, and this plan has {show_bytes(cache)} of it in "
            "host memory; plan a smaller --batch or --context"
        )
    notes: list[str] = []
    back = bytes_on(found, Device.CPU) / wanted.gpus
    peak, room = peak_bytes(file.problem, file.plan, Device.GPU), capacity_bytes(file.problem, Device.GPU)
    share = min(1.0, math.ceil(100 * peak / room) / 100)
    batch, context, dtype = _lengths(source)
    flags = ["--dtype", dtype, "--max-model-len", str(context), "--max-num-seqs", str(batch)]
    flags += ["--gpu-memory-utilization", f"{share:.2f}"]
    if back:
        offload = math.ceil(100 * back / 2**30) / 100
        flags += ["--cpu-offload-gb", f"{offload:.2f}"]
        notes.append(
            f"vLLM takes the first {offload:.2f} GiB of weights in the order in which it makes them, not those that "
            "the plan keeps off the GPU, and reads them in place in every pass"
        )
    if wanted.gpus > 1:
        flags += ["--tensor-parallel-size", str(wanted.gpus)]
        notes.append(f"the plan takes the machine's memory as one; each of the {wanted.gpus} GPUs gets an equal part")
    if share > _TIGHT:
        notes.append(
            f"the plan fills {share:.0%} of the GPU, and CUDA and vLLM need room of their own: plan with less memory"
        )
    notes.append(
        "what the weights leave of this share of the memory, vLLM gives to the cache: at least what is planned"
    )
    if source.gguf is not None:
        notes.append("vLLM reads .gguf files, but wants the tokenizer of the original model: --tokenizer")
    return Emitted(NAME, shlex.join(flags), tuple(notes), {"arguments": flags})


def _check(file: PlanFile, source: Source) -> None:
    devices = devices_of(file.problem.tiers)
    if Device.GPU not in devices:
        raise InvalidInputError(
            f"vLLM's offloading needs a GPU, and '{file.hardware}' has none: its fastest tier is "
            f"'{file.problem.tiers.names[0]}'"
        )
    disk = bytes_on(places(file.problem, file.plan).values(), Device.DISK)
    if disk:
        raise InvalidInputError(
            f"vLLM keeps weights on the GPU or in host memory, and this plan has {show_bytes(disk)} of them on disk; "
            "plan for a machine with more memory, or emit for llama.cpp or accelerate"
        )
    if source.arch.family in _NOT_RUN:
        raise InvalidInputError(f"vLLM does not run models of the family {source.arch.family}")


def _lengths(source: Source) -> tuple[int, int, str]:
    """Sequences, positions of each, and the element type of the computation."""
    graph, shaping = source.graph, source.asked.shaping
    states = [tensor for tensor in graph.tensors if tensor.kind is TensorKind.STATE]
    weights = [tensor for tensor in graph.tensors if tensor.kind is TensorKind.WEIGHT]
    dtype = (states or weights)[0].dtype
    if dtype not in _DTYPES:
        raise InvalidInputError(
            f"vLLM computes in {', '.join(_DTYPES)}; weights of {dtype} need a quantised checkpoint: plan that one"
        )
    batch = shaping.batch or 1
    rows = max((tensor.shape[-2] for tensor in states), default=0)
    context = shaping.context or rows
    if not context:
        raise InvalidInputError("say how long sequences are: plan with --context")
    return batch, context, dtype
