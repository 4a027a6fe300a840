"""Built-in models, as the Hugging Face configurations that they were published with, and how some use their neurons."""

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


def sparsity_names() -> tuple[str, ...]:
    """Names of the built-in sparsities: how models use their feed-forward neurons, sorted."""
    entries = (entry.name for entry in files(__name__).iterdir())
    return tuple(sorted(name.removesuffix(".yaml") for name in entries if name.endswith(".yaml")))


def load_sparsity(name: str) -> str:
    """A built-in sparsity, as YAML text.

    Raises: InvalidInputError: there is none of that name; says the nearest one.
    """
    if name not in sparsity_names():
        raise unknown_name("sparsity", name, sparsity_names())
    return files(__name__).joinpath(f"{name}.yaml").read_text(encoding="utf-8")
