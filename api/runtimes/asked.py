"""What a plan file says was planned, and the model read again, so that an old plan is not taken for another model's."""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from tierplan.frontend.architecture import Architecture
from tierplan.frontend.gguf import GgufFile
from tierplan.frontend.naming import Names
from tierplan.frontend.program import Model
from tierplan.ir.errors import InvalidInputError
from tierplan.ir.graph import Graph, TensorKind
from tierplan.ir.plan_file import PlanFile
from tierplan.ir.units import show_bytes
from tierplan.programs import Shaping, read_program

_OPTION = re.compile(r" --([a-z-]+)(?: (?!--)(\S+))?")
_ENDS = re.compile(r"(.*?)((?: --[a-z-]+(?: (?!--)\S+)?)*)")
_NAMED = re.compile(r"(.+) \(.*\)")
_LENGTHS = ("batch", "context")


@dataclass(frozen=True, slots=True)
class Asked:
    """MODEL, the options that shape its program, and all other options by name."""

    spec: str
    shaping: Shaping
    beyond: Mapping[str, str]


@dataclass(frozen=True, slots=True)
class Source:
    """A language model that was read again: its architecture, the names of its weights, its graph, its file."""

    asked: Asked
    arch: Model
    names: Names | None
    graph: Graph
    gguf: GgufFile | None

    @property
    def decoder(self) -> Architecture | None:
        """The architecture, where it is one stack of layers."""
        return self.arch if isinstance(self.arch, Architecture) else None


def read_asked(description: str) -> Asked:
    """What a description asks for, as `programs.describe` writes it."""
    match = _ENDS.fullmatch(description)
    assert match is not None
    options = {name: value or "" for name, value in _OPTION.findall(match.group(2))}
    named = _NAMED.fullmatch(match.group(1))
    spec = named.group(1) if named and not Path(match.group(1)).exists() else match.group(1)
    lengths = {name: int(options.pop(name)) for name in _LENGTHS if options.get(name, "").isdigit()}
    words = {name: options.pop(name, None) for name in ("phase", "dtype", "shapes")}
    cyclic = True if options.pop("cyclic", None) is not None else None
    return Asked(spec, Shaping(**lengths, **words, cyclic=cyclic), options)  # pyright: ignore[reportArgumentType]


def check_asked(asked: Asked, runtime: str) -> None:
    """Refuse what no plan of it could be emitted for a runtime of language models.

    Raises: InvalidInputError: a service, training, or no language model.
    """
    phase = asked.shaping.phase
    if phase == "serve":
        raise InvalidInputError(f"a plan of --phase serve is a mean turn; plan --phase decode to emit for {runtime}")
    if phase == "train" and runtime != "accelerate":
        raise InvalidInputError(f"{runtime} does not train; plan --phase decode or prefill")
    if asked.shaping.shapes is not None or _is_no_model(asked.spec):
        raise InvalidInputError(f"'{asked.spec}' is no language model, and {runtime} runs nothing else")


def read_source(file: PlanFile, runtime: str, model: str | None = None) -> Source:
    """The language model that a plan is for, or the one that the user names.

    Raises: InvalidInputError: the plan is for no language model, or takes choices that no runtime has; the model
        cannot be read; or it is not the one that was planned, which names the tensor that tells.
    """
    asked = read_asked(file.model)
    check_asked(asked, runtime)
    if file.problem.choices:
        what = ", ".join(f"--{name}" for name in asked.beyond) or file.problem.choices[0].name
        raise InvalidInputError(
            f"{runtime} cannot do what this plan chooses ({what}): it keeps whole tensors in one place; "
            "plan without these options"
        )
    spec = model or asked.spec
    asked = Asked(spec, asked.shaping, asked.beyond)
    try:
        arch, names, gguf = _read_model(spec)
        graph = read_program(spec, asked.shaping)
    except InvalidInputError as error:
        hint = "" if model else "; if the model has moved, name it with --model"
        raise InvalidInputError(f"the model of this plan cannot be read again: {error}{hint}") from None
    _check_same(file, graph, spec)
    return Source(asked, arch, names, graph, gguf)


def _is_no_model(spec: str) -> bool:
    return Path(spec).suffix in (".csv", ".hlo", ".txt", ".onnx", ".pt2") or (":" in spec and not Path(spec).exists())


def _read_model(spec: str) -> tuple[Model, Names | None, GgufFile | None]:
    from tierplan.frontend.config import read_config
    from tierplan.models import load, names

    if spec in names():
        return read_config(load(spec), spec), None, None
    path = Path(spec)
    if path.is_dir():
        path = _in_folder(path)
    if path.suffix == ".json" and not path.name.endswith(".safetensors.index.json"):
        try:
            return read_config(path.read_text(encoding="utf-8"), spec), None, None
        except (OSError, UnicodeDecodeError) as error:
            raise InvalidInputError(f"'{path}': {error}") from None
    if not path.exists():
        raise InvalidInputError(f"no file '{path}'")
    if path.suffix == ".gguf":
        from tierplan.frontend.gguf import read_gguf
        from tierplan.frontend.gguf_model import read_gguf_model

        read = read_gguf_model(path)
        return read.arch, read.names, read_gguf(path)
    from tierplan.frontend.safetensors_model import read_safetensors_model

    read = read_safetensors_model(path)
    return read.arch, read.names, None


def _in_folder(folder: Path) -> Path:
    if any(folder.glob("*.safetensors")) or any(folder.glob("*.safetensors.index.json")):
        return folder
    found = sorted(folder.glob("*.gguf"))
    return found[0] if len(found) == 1 else folder / "config.json"


def _check_same(file: PlanFile, graph: Graph, spec: str) -> None:
    """Refuse a model whose weights and states are not those of the plan."""
    kinds = (TensorKind.WEIGHT, TensorKind.STATE)
    used = {access.tensor for op in graph.ops for access in (*op.reads, *op.writes)}
    have = {t.name: t.size for t in graph.tensors if t.kind in kinds and t.name in used and not t.alias}
    rows = zip(file.problem.tensor_names, file.problem.tensor_kind, file.problem.size.tolist(), strict=True)
    planned = {name: size for name, kind, size in rows if kind in {k.value for k in kinds}}
    aliases = {t.name for t in graph.tensors if t.alias} | {t.alias for t in graph.tensors}
    for name, size in planned.items():
        if name not in have and name not in aliases:
            raise _another(file, spec, f"it places '{name}', which '{spec}' does not have")
        if name in have and have[name] != size:
            sizes = f"{show_bytes(size)} in the plan and {show_bytes(have[name])} in '{spec}'"
            raise _another(file, spec, f"'{name}' has {sizes}")
    for name in have:
        if name not in planned:
            raise _another(file, spec, f"'{spec}' has '{name}', which the plan does not place")


def _another(file: PlanFile, spec: str, why: str) -> InvalidInputError:
    return InvalidInputError(f"the plan, made for '{file.model}', is not for '{spec}' as it is now: {why}; plan again")
