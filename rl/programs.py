"""Programs of the game by name: `suite://train/bert-8x512`, `generator://transformer-v0/23?level=2`."""

import re
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np

from tierplan.hardware.load import load_machine
from tierplan.ir.errors import InvalidInputError, unknown_name
from tierplan.ir.problem import Problem, links_of, tiers_of
from tierplan.rl.generate import FAMILIES, LEVELS, generate
from tierplan.rl.tables import Rows

SPLITS = ("train", "test")
DEFAULT_HARDWARE = "tpu-v4i"
_SUITE = Path(__file__).with_name("suite.npz")
_COLUMNS = (
    "compute_s", "access_start", "access_tensor", "access_read", "access_write", "access_mode", "size", "home", "keep",
)  # fmt: skip
_TEST = (
    "alexnet-32", "vgg16-8-train", "resnet50-8-train", "resnet50-1", "unet-1", "unet-4-train", "bert-1x128",
    "gpt2-4x512", "vit-16-train", "mixer-1", "lstm-16x16-train", "wavernn-64x32", "gnn-train", "experts-16",
)  # fmt: skip
_TEST_SEEDS = 1000  # generated programs with this seed or a higher one are for tests
_GENERATED = 4  # programs that a split takes from each family and level
_GENERATOR = re.compile(r"generator://(?P<family>[^/?]+)/(?P<seed>[^/?]+)(\?level=(?P<level>[^/?&]+))?")


def read_program(uri: str, hardware: str | None = None) -> Problem:
    """The placement problem of a program by name, on a machine (default: tpu-v4i).

    Raises: InvalidInputError: there is no such program, or it is not known for that machine.
    """
    if uri.startswith("suite://"):
        return _from_suite(uri, hardware or DEFAULT_HARDWARE)
    found = _GENERATOR.fullmatch(uri)
    if found:
        seed, level = (_number(uri, what, found[what] or "1") for what in ("seed", "level"))
        return generate(found["family"], seed, load_machine(hardware or DEFAULT_HARDWARE), level)
    raise InvalidInputError(
        f"program '{uri}': write suite://NAME, suite://train/NAME or generator://FAMILY/SEED?level=N, like "
        f"{program_names('train')[0]} or generator://{min(FAMILIES)}/23?level=2"
    )


def _number(uri: str, what: str, text: str) -> int:
    if not text.isdecimal():
        raise InvalidInputError(f"program '{uri}': its {what} '{text}' is no number")
    return int(text)


def program_names(split: str) -> tuple[str, ...]:
    """The programs of a split, "train" or "test"; no program is in both.

    Raises: InvalidInputError: there is no such split.
    """
    if split not in SPLITS:
        raise unknown_name("split", split, SPLITS)
    real = [f"suite://{split}/{name}" for name in suite_names() if (name in _TEST) == (split == "test")]
    first = _TEST_SEEDS if split == "test" else 0
    drawn = [
        f"generator://{family}/{first + i}?level={level}"
        for family in FAMILIES
        for level in range(LEVELS)
        for i in range(_GENERATED)
    ]
    return (*real, *drawn)


def split_of(uri: str) -> str:
    """The split that a program belongs to.

    Raises: InvalidInputError: it is no name of a program.
    """
    found = _GENERATOR.fullmatch(uri)
    if found:
        return "test" if _number(uri, "seed", found["seed"]) >= _TEST_SEEDS else "train"
    return "test" if _suite_name(uri) in _TEST else "train"


@cache
def suite_names() -> tuple[str, ...]:
    """The real programs that come with the package."""
    with np.load(_SUITE, allow_pickle=False) as archive:
        return tuple(sorted({key.rsplit("/", 1)[0] for key in archive.files}))


def _suite_name(uri: str) -> str:
    parts = uri.removeprefix("suite://").split("/")
    name = parts[-1]
    if name not in suite_names():
        raise unknown_name("program of the suite", name, suite_names())
    if len(parts) > 2 or (len(parts) == 2 and parts[0] not in SPLITS):
        raise InvalidInputError(
            f"program '{uri}': write suite://{name}, or a split before the name: {', '.join(SPLITS)}"
        )
    split = "test" if name in _TEST else "train"
    if len(parts) == 2 and parts[0] != split:
        raise InvalidInputError(f"program '{name}' is in the {split} split: write suite://{split}/{name}")
    return name


def _from_suite(uri: str, hardware: str) -> Problem:
    name = _suite_name(uri)
    if hardware != DEFAULT_HARDWARE:
        raise InvalidInputError(
            f"the suite is lowered for {DEFAULT_HARDWARE}, not for {hardware}; lower the program yourself with "
            "tierplan.lower(FUNCTION, MACHINE, args=...) and give the problem, or take a generator://"
        )
    with np.load(_SUITE, allow_pickle=False) as archive:
        columns = {column: archive[f"{name}/{column}"] for column in _COLUMNS}
    return _problem(name, columns)


def _problem(name: str, columns: dict[str, Rows]) -> Problem:
    machine = load_machine(DEFAULT_HARDWARE)
    n_steps, n_tensors = len(columns["compute_s"]), len(columns["size"])
    integers: dict[str, Any] = {key: values.astype(np.int64) for key, values in columns.items() if key != "compute_s"}
    return Problem(
        name=name,
        tiers=tiers_of(machine),
        links=links_of(machine),
        step_names=tuple(f"op{t}" for t in range(n_steps)),
        compute_s=columns["compute_s"],
        compute_j=np.full(n_steps, np.nan),
        tensor_names=tuple(f"x{i}" for i in range(n_tensors)),
        tensor_kind=("activation",) * n_tensors,
        cyclic=True,
        **integers,
    )


def pack(problem: Problem) -> dict[str, Rows]:
    """What `suite.npz` keeps of a program: its numbers, without names, as `NAME/COLUMN` says."""
    return {column: getattr(problem, column) for column in _COLUMNS}
