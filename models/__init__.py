"""Built-in models, as the Hugging Face configurations that they were published with."""

from importlib.resources import files

from tierplan.ir.errors import unknown_name


def names() -> tuple[str, ...]:
    """Names of the built-in models, sorted."""
    entries = (entry.name for entry in files(__name__).iterdir())
    return tuple(sorted(name.removesuffix(".json") for name in entries if name.endswith(".json")))


def load(name: str) -> str:
    """The configuration of a built-in model, as JSON text.

    Raises: InvalidInputError: there is none of that name; says the nearest one.
    """
    if name not in names():
        raise unknown_name("model", name, names())
    return files(__name__).joinpath(f"{name}.json").read_text(encoding="utf-8")
