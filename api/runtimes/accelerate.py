"""A `device_map` and `max_memory` for Hugging Face Accelerate, as Python source.

Source: accelerate's `check_device_map` and `infer_auto_device_map`, `utils/modeling.py`: a key is a module or a
parameter and counts for all below it; every parameter needs one.
"""

from collections.abc import Mapping
from pprint import pformat

from tierplan.ir.errors import InvalidInputError
from tierplan.ir.graph import TensorKind
from tierplan.ir.plan_file import PlanFile
from tierplan.ir.units import show_bytes
from tierplan.runtimes.asked import Source, read_source
from tierplan.runtimes.emitted import Emitted, Wanted
from tierplan.runtimes.places import Device, Place, bytes_on, capacity_bytes, peak_bytes, places

NAME = "accelerate"
_CALLED: Mapping[Device, int | str] = {Device.GPU: 0, Device.CPU: "cpu", Device.DISK: "disk"}


def emit(file: PlanFile, wanted: Wanted) -> Emitted:
    """The map of a plan's weights by module.

    Raises: InvalidInputError: not a checkpoint of the transformers library.
    """
    source = read_source(file, NAME, wanted.model)
    if source.gguf is not None:
        raise InvalidInputError(
            "accelerate places modules of the transformers library, and a .gguf file has none; plan the model's "
            "config.json or .safetensors files"
        )
    found = places(file.problem, file.plan)
    modules, notes = _modules(found, source)
    device_map = collapsed(modules)
    max_memory = _max_memory(file, found)
    _tell(file, found, source, notes)
    values = {"device_map": device_map, "max_memory": {str(key): value for key, value in max_memory.items()}}
    return Emitted(NAME, _text(file, source, device_map, max_memory, notes), tuple(notes), values, is_source=True)


def _modules(found: Mapping[str, Place], source: Source) -> tuple[dict[str, int | str], list[str]]:
    """The device of each module that has weights of its own: where its matrix lies."""
    modules: dict[str, int | str] = {}
    parted: list[str] = []
    matrices = [t.name for t in source.graph.tensors if not t.name.endswith(".bias")]
    biases = [t.name for t in source.graph.tensors if t.name.endswith(".bias")]
    weights = [found[name] for name in (*matrices, *biases) if name in found]
    for place in [place for place in weights if place.kind == TensorKind.WEIGHT.value]:
        module = place.tensor.removesuffix(".weight").removesuffix(".bias")
        device = _CALLED[place.device]
        if modules.setdefault(module, device) != device:
            parted.append(place.tensor)
    notes: list[str] = []
    if parted:
        notes.append(f"{len(parted)} biases lie with their matrix, not where the plan has them, like {parted[0]}")
    idle = [t for t in source.graph.tensors if t.kind is TensorKind.WEIGHT and t.name not in found and not t.alias]
    for tensor in idle:
        modules.setdefault(tensor.name.removesuffix(".weight").removesuffix(".bias"), "cpu")
    if idle:
        size = show_bytes(sum(tensor.size for tensor in idle))
        notes.append(
            f"{len(idle)} weights ({size}) take no part in the planned phase and go to the CPU, like {idle[0].name}"
        )
    decoder = source.decoder
    if decoder is not None and decoder.tied and decoder.causal and "lm_head" not in modules:
        tables = [name for name in modules if name.endswith(("embed_tokens", "wte", "word_embeddings"))]
        if tables:
            modules["lm_head"] = modules[tables[0]]
    return modules, notes


def collapsed(modules: Mapping[str, int | str]) -> dict[str, int | str]:
    """The same map with one entry for each module all of which lies on one device, in the order of the modules."""
    below: dict[str, set[int | str]] = {}
    for name, device in modules.items():
        parts = name.split(".")
        for n in range(len(parts) + 1):
            below.setdefault(".".join(parts[:n]), set()).add(device)
    found: dict[str, int | str] = {}
    for name, device in modules.items():
        parts = name.split(".")
        key = next(".".join(parts[:n]) for n in range(len(parts) + 1) if len(below[".".join(parts[:n])]) == 1)
        found[key] = device
    return found


def _max_memory(file: PlanFile, found: Mapping[str, Place]) -> dict[int | str, int]:
    """For `device_map="auto"`: what is left for weights on each device once all else of the plan lies there."""
    problem, plan = file.problem, file.plan
    limits: dict[int | str, int] = {}
    for device in (Device.GPU, Device.CPU):
        room = capacity_bytes(problem, device)
        if room:
            rest = room - peak_bytes(problem, plan, device, without=TensorKind.WEIGHT.value)
            limits[_CALLED[device]] = max(rest, bytes_on(found.values(), device))
    return limits


def _tell(file: PlanFile, found: Mapping[str, Place], source: Source, notes: list[str]) -> None:
    weights = [place for place in found.values() if place.kind == TensorKind.WEIGHT.value]
    back = sum(place.size for place in weights if place.device is not Device.GPU)
    if back and bytes_on(weights, Device.GPU):
        notes.append(
            f"{show_bytes(back)} of weights are copied to the GPU module by module in every turn, when it runs; "
            "the plan prefetches, or reads in place, and needs no room for whole modules"
        )
    caches = bytes_on(found.values(), Device.CPU, TensorKind.STATE.value)
    if caches and any(place.device is Device.GPU for place in found.values()):
        notes.append(
            f"{show_bytes(caches)} of cache off the GPU: accelerate does not place it; "
            'generate with cache_implementation="offloaded"'
        )
    if source.decoder is not None and source.decoder.experts is not None:
        notes.append(
            "names of experts are those of the checkpoint; a version of transformers that stacks them has others"
        )
    if file.problem.cyclic and source.asked.shaping.phase == "train":
        notes.append("gradients and optimizer states are not in a device_map")


def _text(
    file: PlanFile, source: Source, device_map: Mapping[str, int | str], max_memory: Mapping[int | str, int],
    notes: list[str],
) -> str:  # fmt: skip
    lines = [f"# device_map for {file.model} on {file.hardware}, by tierplan {file.version} ({file.planner})"]
    lines += [f"# approximated: {note}" for note in notes]
    lines.append(f"device_map = {pformat(dict(device_map), sort_dicts=False, width=100)}")
    lines.append(
        f'# for device_map="auto", which then decides anew within these bytes\nmax_memory = {dict(max_memory)!r}'
    )
    disk = ', offload_folder="offload"' if "disk" in device_map.values() else ""
    lines.append(f"# AutoModelForCausalLM.from_pretrained(MODEL, device_map=device_map{disk})")
    return "\n".join(lines)
