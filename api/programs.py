"""From what the user names as MODEL to a graph: a built-in name, a file, or a JAX function."""

import os
from dataclasses import dataclass
from pathlib import Path

from tierplan.frontend.parallel import ALONE, Parallel, Shard
from tierplan.ir.errors import InvalidInputError, nearest
from tierplan.ir.graph import Graph
from tierplan.models import load, names

_KINDS = (
    "a built-in model (see 'tierplan models'), a config.json, a .gguf file, a .safetensors file or the folder of one, "
    "a buffer .csv, an .onnx file, a .pt2 file, XLA HLO text (.txt, .hlo), or module:function for JAX or PyTorch"
)

_AS_HLO = "write the program as HLO text, jax.jit(f).lower(...).as_text('hlo') or --xla_dump_hlo_as_text"
_NO_PICKLE = "it may hold a pickle, which is never opened; use safetensors for weights, torch.export.save for programs"
_INSTEAD = {
    **dict.fromkeys((".mlir", ".stablehlo", ".pb"), _AS_HLO),
    **dict.fromkeys((".pt", ".pth", ".bin", ".ckpt", ".pkl"), _NO_PICKLE),
}


@dataclass(frozen=True, slots=True)
class Shaping:
    """What the command line says about the size of the program; None where it says nothing.

    `phase`, `batch`, `context` and `dtype` shape a language model, `shapes` the arguments of a
    JAX function; `cyclic` says whether a JAX function repeats. `dims` bind open dimensions of an ONNX file.
    `tp`, `pp` and `ep` split a language model over devices. `chunk`: positions that a turn of a prompt reads, the last
    ones of the context; None: all.
    """

    phase: str | None = None
    batch: int | None = None
    context: int | None = None
    dtype: str | None = None
    shapes: str | None = None
    cyclic: bool | None = None
    dims: tuple[str, ...] = ()
    tp: int | None = None
    pp: int | None = None
    ep: int | None = None
    chunk: int | None = None

    @property
    def parallel(self) -> Parallel:
        """How the model is split over devices."""
        return Parallel(*(1 if n is None else n for n in (self.tp, self.pp, self.ep)))

    def _splits(self) -> dict[str, int]:
        return {f"--{name}": n for name in ("tp", "pp", "ep") if (n := getattr(self, name)) is not None}

    def of_language_model(self) -> list[str]:
        """The options given that only a language model understands."""
        given = {"--phase": self.phase, "--batch": self.batch, "--context": self.context, "--dtype": self.dtype}
        return [*(option for option, value in given.items() if value is not None), *self._splits()]

    def of_function(self) -> list[str]:
        """The options given that only a JAX function understands."""
        given = {"--shapes": self.shapes, "--cyclic": self.cyclic}
        return [option for option, value in given.items() if value is not None]

    def of_onnx(self) -> list[str]:
        """The options given that only an ONNX file understands."""
        return ["--dim"] if self.dims else []


def read_program(spec: str, shaping: Shaping, stage: int = 0) -> Graph:
    """The graph of the program that `spec` names; that of one device, in this stage, if it is split over several.

    Raises: InvalidInputError: there is no such program, it cannot be read, or an option does not apply to it.
    """
    if Path(spec).suffix != ".onnx":
        _refuse(shaping.of_onnx(), "a program of this kind; it is for the open dimensions of an .onnx file")
    if spec in names():
        return _language_model(load(spec), spec, shaping, stage)
    path, exists = Path(spec), os.path.exists(spec)  # which is False, and no error, for names that no file can have
    if path.suffix in (".gguf", ".safetensors") or spec.endswith(".safetensors.index.json"):
        return _checkpoint(path, shaping)
    if exists and path.is_dir():
        return _folder(path, shaping, stage)
    if path.suffix == ".json":
        return _language_model(_text(path), spec, shaping, stage)
    if path.suffix == ".csv":
        return _buffers(path, shaping)
    if path.suffix in (".hlo", ".txt"):
        return _hlo(path, shaping)
    if path.suffix == ".onnx":
        return _onnx(path, shaping)
    if path.suffix == ".pt2":
        return _pt2(path, shaping)
    if ":" in spec and not exists:
        _refuse(shaping.of_language_model(), "a function; give '--shapes' or 'example_args' in its module")
        return _function(spec, shaping)
    if exists:
        if path.suffix in _INSTEAD:
            raise InvalidInputError(f"'{spec}' is not read: {_INSTEAD[path.suffix]}")
        raise InvalidInputError(f"'{spec}' is none of the inputs that tierplan reads: {_KINDS}")
    guess = nearest(spec, names())
    hint = f"did you mean '{guess}'? " if guess else ""
    raise InvalidInputError(f"no model '{spec}'; {hint}MODEL is {_KINDS}")


def describe(graph: Graph, shaping: Shaping, spec: str) -> str:
    """One line that says what was asked for, as it is written into plan files."""
    options = [*shaping.of_language_model(), *shaping.of_function(), *shaping.of_onnx()]
    return f"{spec} ({graph.name})" if not options and graph.name != spec else spec + _written(shaping)


def _written(shaping: Shaping) -> str:
    given = {
        "--phase": shaping.phase, "--batch": shaping.batch, "--context": shaping.context, "--dtype": shaping.dtype,
        "--shapes": shaping.shapes,
    }  # fmt: skip
    words = "".join(f" {option} {value}" for option, value in given.items() if value is not None)
    words += "".join(f" --{name} {n}" for name in ("tp", "pp", "ep") if (n := getattr(shaping, name)) is not None)
    words += "".join(f" --dim {dim}" for dim in shaping.dims)
    return words + (" --cyclic" if shaping.cyclic else "")


def _language_model(text: str, source: str, shaping: Shaping, stage: int) -> Graph:
    _refuse(shaping.of_function(), "a language model; they are for JAX functions")
    from tierplan.frontend.config import read_config
    from tierplan.frontend.program import model_graph

    model = read_config(text, source)
    return model_graph(
        model,
        phase=shaping.phase,
        batch=shaping.batch,
        context=shaping.context,
        dtype=shaping.dtype,
        shard=shard_of(shaping, stage),
        chunk=shaping.chunk,
    )


def shard_of(shaping: Shaping, stage: int) -> Shard:
    """The part that the first device of a stage has."""
    parallel = shaping.parallel
    return ALONE if parallel.devices == 1 else Shard(parallel, stage=stage)


def _checkpoint(path: Path, shaping: Shaping) -> Graph:
    """A model whose weights lie in files; their headers are read, and their sizes are kept."""
    _refuse(shaping.of_function(), "a language model; they are for JAX functions")
    from tierplan.frontend.checkpoint import checkpoint_graph

    if path.suffix == ".gguf":
        from tierplan.frontend.gguf_model import read_gguf_model as read
    else:
        from tierplan.frontend.safetensors_model import read_safetensors_model as read
    if not path.exists():
        raise InvalidInputError(f"no file '{path}'")
    if shaping.parallel.devices > 1:
        raise InvalidInputError(
            "weights in files are planned as they are stored, on one device; "
            "give --tp, --pp and --ep with the config.json of the model"
        )
    return checkpoint_graph(
        read(path), phase=shaping.phase, batch=shaping.batch, context=shaping.context, dtype=shaping.dtype,
        chunk=shaping.chunk,
    )  # fmt: skip


def _folder(folder: Path, shaping: Shaping, stage: int) -> Graph:
    """The model of a folder: its safetensors files, its only GGUF file, or its configuration alone."""
    if any(folder.glob("*.safetensors")) or any(folder.glob("*.safetensors.index.json")):
        return _checkpoint(folder, shaping)
    found = sorted(folder.glob("*.gguf"))
    if len(found) == 1:
        return _checkpoint(found[0], shaping)
    if found:
        raise InvalidInputError(f"'{folder}' has {len(found)} .gguf files; name one, like '{found[0]}'")
    if (folder / "config.json").is_file():
        return _language_model(_text(folder / "config.json"), str(folder / "config.json"), shaping, stage)
    raise InvalidInputError(f"the folder '{folder}' has no model: no .safetensors, no .gguf and no config.json")


def _buffers(path: Path, shaping: Shaping) -> Graph:
    _refuse([*shaping.of_language_model(), *shaping.of_function()], "a list of buffers; leave them out")
    from tierplan.frontend.buffers import read_buffers
    from tierplan.frontend.lifespans import graph_of_buffers

    return graph_of_buffers(read_buffers(_text(path), str(path)), path.name)


def _hlo(path: Path, shaping: Shaping) -> Graph:
    options = [*shaping.of_language_model(), *(["--shapes"] if shaping.shapes is not None else [])]
    _refuse(options, "an HLO module, which has its shapes; leave them out")
    from tierplan.frontend.hlo_graph import graph_of_hlo

    return graph_of_hlo(_text(path), str(path), cyclic=bool(shaping.cyclic))


def _onnx(path: Path, shaping: Shaping) -> Graph:
    _refuse([*shaping.of_language_model(), *shaping.of_function()], "an ONNX file; bind its dimensions with --dim")
    from tierplan.frontend.onnx_dims import read_dims
    from tierplan.frontend.onnx_graph import load_onnx

    return load_onnx(path, read_dims(shaping.dims))


def _pt2(path: Path, shaping: Shaping) -> Graph:
    _refuse([*shaping.of_language_model(), *shaping.of_function()], "an exported program, whose shapes are fixed")
    from tierplan.frontend.torch_archive import load_pt2

    return load_pt2(path)


def _function(spec: str, shaping: Shaping) -> Graph:
    """A JAX function; or a PyTorch module, or a function that returns a module or an ExportedProgram."""
    from tierplan.frontend.torch_function import load_torch

    graph = load_torch(spec) if shaping.shapes is None else None
    if graph is not None:
        _refuse(shaping.of_function(), "a PyTorch program; it has its shapes and runs once")
        return graph
    from tierplan.frontend.jax_function import load as load_function

    return load_function(spec, shaping.shapes, cyclic=shaping.cyclic)


def _refuse(options: list[str], what: str) -> None:
    if options:
        raise InvalidInputError(f"{', '.join(options)} means nothing for {what}")


def _text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8")
    except FileNotFoundError:
        raise InvalidInputError(f"no file '{path}'") from None
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "it is not UTF-8 text"
        raise InvalidInputError(f"cannot read '{path}': {reason}") from None
