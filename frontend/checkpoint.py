"""A checkpoint: an architecture, and how the weights of it lie in files."""

from collections.abc import Mapping
from dataclasses import dataclass

from tierplan.frontend.naming import Names
from tierplan.frontend.program import Model, model_graph, weight_shapes
from tierplan.ir.errors import InvalidInputError
from tierplan.ir.graph import Graph, Stored


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """A model in files.

    `stored` says for each weight, by its name among `names`, how its bytes lie; `beside` names what the files hold
    that takes no part in the program, with its bytes.
    """

    source: str
    arch: Model
    names: Names | None
    stored: Mapping[str, Stored]
    beside: Mapping[str, int]

    @property
    def weight_bytes(self) -> int:
        """Bytes of all weights, as stored."""
        return sum(stored.bytes for stored in self.stored.values())


def checkpoint_graph(
    checkpoint: Checkpoint, *, phase: str | None, batch: int | None, context: int | None, dtype: str | None,
    chunk: int | None = None,
) -> Graph:  # fmt: skip
    """The graph of one turn, its weights of the sizes that they have in the files.

    `dtype` is the element type of activations and caches.
    Assumes: a runtime keeps weights in memory as they are stored, and widens them to that type where it uses them.

    Raises: InvalidInputError: training, whose weights change; and all that `model_graph` refuses.
    """
    if phase == "train":
        raise InvalidInputError(
            f"{checkpoint.source}: the weights of a file are planned as they are stored, which training would change; "
            "give the config.json of the model instead, or ask for decode or prefill"
        )
    return model_graph(
        checkpoint.arch,
        phase=phase,
        batch=batch,
        context=context,
        dtype=dtype,
        names=checkpoint.names,
        stored=checkpoint.stored,
        notes=_notes(checkpoint),
        chunk=chunk,
    )


def lacking(arch: Model, names: Names | None, stored: Mapping[str, Stored], source: str) -> None:
    """Refuse files that lack a weight of the architecture.

    Raises: InvalidInputError: names the first one that is missing.
    """
    missing = [name for name, _ in weight_shapes(arch, names) if name not in stored]
    if missing:
        more = f" and {len(missing) - 1} more" if len(missing) > 1 else ""
        raise InvalidInputError(f"{source}: lacks the tensor '{missing[0]}'{more}, which a {arch.family} model has")


def _notes(checkpoint: Checkpoint) -> tuple[str, ...]:
    formats: dict[str, int] = {}
    for stored in checkpoint.stored.values():
        formats[stored.format] = formats.get(stored.format, 0) + stored.bytes
    listed = ", ".join(f"{name} {_gb(n)}" for name, n in sorted(formats.items(), key=lambda pair: -pair[1]))
    notes = [f"weights as stored: {listed}"]
    if checkpoint.beside:
        names = list(checkpoint.beside)
        shown = ", ".join(names[:3]) + (", ..." if len(names) > 3 else "")
        total = _gb(sum(checkpoint.beside.values()))
        notes.append(f"{len(names)} tensors of the files, {total}, take no part in this program: {shown}")
    return tuple(notes)


def _gb(n_bytes: int) -> str:
    from tierplan.ir.units import show_bytes

    return show_bytes(n_bytes)
