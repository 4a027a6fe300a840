"""Flags for llama.cpp: which layers and tensors lie where, the context, and the types of the cache.

llama.cpp decides where a tensor lies in this order: the first `--n-cpu-moe` or `-ot` pattern that is found in its name;
else its layer: the last `-ngl` of all layers and the output lie on the GPU, the token table never does. The cache of a
layer lies with the layer.
Source: llama.cpp, `common/arg.cpp` (`parse_tensor_buffer_overrides`, `--n-cpu-moe`), `src/llama-model.cpp`
(`load_tensors`), `common/common.h` (`llm_ffn_exps_block_regex`).
"""

import re
import shlex
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from tierplan.frontend.architecture import Architecture
from tierplan.ir.errors import InvalidInputError
from tierplan.ir.graph import Graph, TensorKind
from tierplan.ir.plan_file import PlanFile
from tierplan.ir.units import show_bytes
from tierplan.runtimes.asked import Source, read_source
from tierplan.runtimes.emitted import Emitted, Wanted
from tierplan.runtimes.gguf_names import gguf_names
from tierplan.runtimes.places import Device, Place, bytes_on, places

NAME = "llama.cpp"
_BLOCK = re.compile(r"blk\.(\d+)\.(.+)")
_EXPERTS = re.compile(r"ffn_(up|down|gate|gate_up)_(ch|)exps")
_INPUTS = ("token_embd", "position_embd", "token_types")
_STATE = re.compile(r"(\d+)\.[a-z_.]*cache$")
_CACHE_TYPES = {
    "float32": "f32", "float16": "f16", "bfloat16": "bf16", "int8": "q8_0", "uint8": "q8_0", "int4": "q4_0",
    "uint4": "q4_0",
}  # fmt: skip
_ROUNDED = ("int8", "uint8", "int4", "uint4")


@dataclass(frozen=True, slots=True)
class Split:
    """Where llama.cpp shall keep tensors: layers with the output, expert stacks of the first layers, patterns."""

    n_gpu_layers: int
    n_cpu_moe: int
    patterns: tuple[str, ...]

    def on_cpu(self, name: str, n_layers: int) -> bool:
        """Whether these flags keep a tensor on the CPU, as llama.cpp decides it."""
        return bool(self.matches(name)) or _layer_on_cpu(name, n_layers, self.n_gpu_layers)

    def matches(self, name: str) -> list[str]:
        """The patterns that are found in the name of a tensor."""
        moe = [rf"blk\.{layer}\.{_EXPERTS.pattern}" for layer in range(self.n_cpu_moe)]
        return [pattern for pattern in (*moe, *self.patterns) if re.search(pattern, name)]


def _layer_on_cpu(name: str, n_layers: int, n_gpu_layers: int) -> bool:
    if name.startswith(_INPUTS):
        return True
    block = _BLOCK.match(name)
    layer = int(block.group(1)) if block else n_layers
    return layer < n_layers + 1 - n_gpu_layers


def emit(file: PlanFile, wanted: Wanted) -> Emitted:
    """The flags for the GGUF file of a plan, or for that of the model of a configuration.

    Raises: InvalidInputError: not a language model that llama.cpp runs, training, or a cache of a type that it lacks.
    """
    source = read_source(file, NAME, wanted.model)
    arch = source.decoder
    if arch is None:
        raise InvalidInputError(f"llama.cpp's flags are written for decoders; '{source.arch.name}' has an encoder too")
    found = places(file.problem, file.plan)
    notes: list[str] = []
    cpu, names = _on_cpu(source, arch, found, notes)
    n_layers = _n_layers(source, arch)
    split = split_of(cpu, names, n_layers, _layers_with_cache_on_cpu(found))
    values: dict[str, object] = {"n_gpu_layers": split.n_gpu_layers, "n_cpu_moe": split.n_cpu_moe}
    flags = ["-ngl", str(split.n_gpu_layers)]
    if split.n_cpu_moe:
        flags += ["--n-cpu-moe", str(split.n_cpu_moe)]
    for pattern in split.patterns:
        flags += ["-ot", f"{pattern}=CPU"]
    if _cache_stays_back(found, n_layers, split.n_gpu_layers, notes):
        flags.append("--no-kv-offload")
    flags += _cache_flags(source.graph, notes)
    _check(split, cpu, names, n_layers)
    _tell(found, source, split, notes)
    values |= {"override_tensor": [f"{pattern}=CPU" for pattern in split.patterns], "arguments": flags}
    return Emitted(NAME, shlex.join(flags), tuple(notes), values)


def _n_layers(source: Source, arch: Architecture) -> int:
    """Layers as llama.cpp counts them: those of the file, which may hold more than are run."""
    if source.gguf is not None:
        count = source.gguf.metadata.get(f"{source.gguf.metadata['general.architecture']}.block_count")
        if isinstance(count, int):
            return count
    return arch.n_layers


def _on_cpu(
    source: Source, arch: Architecture, found: Mapping[str, Place], notes: list[str]
) -> tuple[set[str], list[str]]:
    """The tensors of the GGUF file that belong on the CPU, and all that the plan places."""
    if source.gguf is not None:
        names = [name for name in source.gguf.tensors if name in found]
        return {name for name in names if found[name].device is not Device.GPU}, names
    cpu: set[str] = set()
    mixed: list[str] = []
    table = gguf_names(arch)
    for stored, planned in table.items():
        parts = [found[name] for name in planned if name in found]
        back = [part for part in parts if part.device is not Device.GPU]
        if 2 * sum(part.size for part in back) > sum(part.size for part in parts):
            cpu.add(stored)
        if back and len(back) < len(parts):
            mixed.append(stored)
    if mixed:
        notes.append(
            f"{len(mixed)} tensors hold weights that the plan keeps apart, like {mixed[0]}; each goes where most of it "
            "lies"
        )
    notes.append("tensor names are those of llama.cpp's converter; plan the .gguf file itself for its sizes and names")
    return cpu, list(table)


def _layers_with_cache_on_cpu(found: Mapping[str, Place]) -> dict[int, bool]:
    """Whether all caches of a layer stay off the GPU, by layer."""
    layers: dict[int, bool] = {}
    for place in found.values():
        match = _STATE.search(place.tensor) if place.kind == TensorKind.STATE.value else None
        if match:
            layer = int(match.group(1))
            layers[layer] = layers.get(layer, True) and place.device is not Device.GPU
    return layers


def split_of(cpu: set[str], names: Sequence[str], n_layers: int, caches: Mapping[int, bool]) -> Split:
    """The fewest flags that keep exactly the tensors `cpu` of `names` on the CPU, the token table aside.

    A layer is left out of `-ngl` when it and all before it lie on the CPU with their caches.
    """
    parts: dict[int, list[str]] = defaultdict(list)
    for name in names:
        block = _BLOCK.fullmatch(name)
        if block:
            parts[int(block.group(1))].append(name)
    first = 0
    while first < n_layers and all(name in cpu for name in parts[first]) and caches.get(first, True):
        first += 1
    outputs = [name for name in names if not _BLOCK.fullmatch(name) and not name.startswith(_INPUTS)]
    if first == n_layers and all(name in cpu for name in outputs):
        return Split(0, 0, ())
    left = {name for name in cpu if not _layer_on_cpu(name, n_layers, n_layers + 1 - first)}
    n_cpu_moe = _first_expert_layers(parts, cpu, first, n_layers)
    experts = {name for name in left if (b := _BLOCK.fullmatch(name)) and _EXPERTS.match(b.group(2))}
    left -= {name for name in experts if int(name.split(".")[1]) < n_cpu_moe}
    return Split(n_layers + 1 - first, n_cpu_moe, _patterns(left))


def _first_expert_layers(parts: Mapping[int, Sequence[str]], cpu: set[str], first: int, n_layers: int) -> int:
    """How many layers from the start have all their expert stacks on the CPU; 0 where `-ngl` says so already."""
    last = 0
    for layer in range(n_layers):
        experts = [name for name in parts.get(layer, ()) if _EXPERTS.search(name)]
        if any(name not in cpu for name in experts):
            break
        if experts and layer >= first:
            last = layer + 1
    return last


def _patterns(names: Iterable[str]) -> tuple[str, ...]:
    """Patterns that are found in exactly these names: tensors of the same layers share one. None holds a comma."""
    layers: dict[str, set[int]] = defaultdict(set)
    alone: list[str] = []
    for name in names:
        block = _BLOCK.fullmatch(name)
        if block:
            layers[block.group(2)].add(int(block.group(1)))
        else:
            alone.append(name)
    groups: dict[tuple[int, ...], list[str]] = defaultdict(list)
    for suffix, where in layers.items():
        groups[tuple(sorted(where))].append(suffix)
    patterns = [
        rf"^blk\.{_either([str(n) for n in where])}\.{_either(sorted(map(re.escape, suffixes)))}$"
        for where, suffixes in sorted(groups.items())
    ]
    return (*patterns, *(f"^{re.escape(name)}$" for name in sorted(alone)))


def _either(words: Sequence[str]) -> str:
    return words[0] if len(words) == 1 else f"({'|'.join(words)})"


def _check(split: Split, cpu: set[str], names: Sequence[str], n_layers: int) -> None:
    """Every tensor lies where it should by these flags, and no pattern competes with another."""
    for name in names:
        if split.on_cpu(name, n_layers) != (name in cpu) and not name.startswith(_INPUTS):
            raise AssertionError(f"the flags put '{name}' where it does not belong")
        if len(split.matches(name)) > 1:
            raise AssertionError(f"two patterns match '{name}'")


def _cache_stays_back(found: Mapping[str, Place], n_layers: int, n_gpu_layers: int, notes: list[str]) -> bool:
    """Whether most of the cache of the layers on the GPU stays off it: llama.cpp keeps all of it there, or none."""
    caches = [
        place
        for place in found.values()
        if place.kind == TensorKind.STATE.value
        and (match := _STATE.search(place.tensor))
        and int(match.group(1)) >= n_layers + 1 - n_gpu_layers
    ]
    back = sum(place.size for place in caches if place.device is not Device.GPU)
    total = sum(place.size for place in caches)
    stays = 2 * back > total
    if 0 < back < total:
        moved, where = (total - back, "off") if stays else (back, "on")
        notes.append(
            f"the cache of layers on the GPU lies on it as a whole or not: {show_bytes(moved)} more go {where} it"
        )
    return stays


def _cache_flags(graph: Graph, notes: list[str]) -> list[str]:
    """The context, the sequences side by side, and the types of the cache."""
    caches = [tensor for tensor in graph.tensors if tensor.kind is TensorKind.STATE and _STATE.search(tensor.name)]
    if not caches:
        return []
    batch, rows = caches[0].shape[0], max(tensor.shape[-2] for tensor in caches)
    flags = ["-c", str(batch * rows)] + (["-np", str(batch)] if batch > 1 else [])
    if batch > 1:
        notes.append(f"-c is that of all {batch} sequences together, {rows} tokens each")
    dtype = caches[0].dtype
    if dtype not in _CACHE_TYPES:
        raise InvalidInputError(
            f"llama.cpp has no cache of type {dtype}; plan with --dtype float16, bfloat16, float32, int8 or int4"
        )
    kind = _CACHE_TYPES[dtype]
    flags += ["-ctk", kind, "-ctv", kind]
    if dtype in _ROUNDED:
        flags += ["-fa", "on"]  # a quantised cache of values needs it
        notes.append(f"a cache of {dtype} becomes {kind}, which adds a scale of 16 bits to every 32 elements")
    return flags


def _tell(found: Mapping[str, Place], source: Source, split: Split, notes: list[str]) -> None:
    """What llama.cpp does otherwise than the plan."""
    weights = found.values()
    cpu, disk = bytes_on(weights, Device.CPU), bytes_on(weights, Device.DISK)
    if cpu + disk and split.n_gpu_layers:
        notes.append(
            f"llama.cpp computes on the CPU with the {show_bytes(cpu + disk)} of weights that lie there; "
            "the plan's time is for a GPU that reads them over the link, or copies them in every turn"
        )
    if disk:
        notes.append(f"{show_bytes(disk)} on disk are mapped into memory and paged in as the system sees fit")
    for name in _INPUTS:
        planned = [place for place in weights if _is_table(place.tensor, name, source)]
        if any(place.device is Device.GPU for place in planned):
            size = sum(place.size for place in planned)
            tied = source.decoder is not None and source.decoder.tied and name == "token_embd"
            more = "; the output, which shares it, gets a copy on the GPU" if tied and split.n_gpu_layers else ""
            notes.append(f"{name} ({show_bytes(size)}) always lies on the CPU{more}")
    notes.append("compute buffers of llama.cpp are not in the plan; leave room for them")


def _is_table(tensor: str, name: str, source: Source) -> bool:
    if source.gguf is not None:
        return tensor.startswith(name)
    assert source.decoder is not None
    return any(tensor in planned for stored, planned in gguf_names(source.decoder).items() if stored.startswith(name))
