"""The layout of the project: packages, the direction of imports, and what start-up pulls in."""

import ast
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path

import pytest

import tierplan

ROOT = Path(__file__).resolve().parent.parent
PYPROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
PACKAGES: list[str] = PYPROJECT["tool"]["setuptools"]["packages"]
FOLDERS: dict[str, str] = PYPROJECT["tool"]["setuptools"]["package-dir"]
NO_PACKAGES = {"tests", "docs", "examples", "benchmarks", "build"}

MAY_IMPORT = {
    "ir": set[str](),
    "einsum": {"ir"},
    "frontend": {"ir"},
    "hardware": {"ir"},
    "models": {"ir"},
    "planner": {"ir", "einsum", "frontend", "hardware"},
    "sim": {"ir", "einsum", "frontend", "hardware"},
    "tasks": {"ir"},
    "rl": {"ir", "einsum", "frontend", "hardware", "planner", "sim", "tasks"},
}
HEAVY = ("jax", "ortools", "gymnasium", "onnx", "numba", "matplotlib", "ray", "optuna", "pyarrow")


def sources(folder: str = "") -> list[Path]:
    folders = [ROOT / folder] if folder else [ROOT / name for name in sorted(set(FOLDERS.values()))]
    return sorted({path for each in folders for path in each.rglob("*.py")})


def imports(text: str) -> Iterator[tuple[str, int]]:
    """Every module that a source imports, inside functions too, with the level of relative imports."""
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.Import):
            yield from ((alias.name, 0) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            yield node.module or "", node.level
            if node.module == "tierplan":
                yield from ((f"tierplan.{alias.name}", 0) for alias in node.names)


def part(module: str) -> str:
    """The folder that a module of tierplan lies in; `api` for what has none of its own."""
    names = module.split(".")
    return names[1] if len(names) > 1 and names[1] in MAY_IMPORT else "api"


def wrong_imports(folder: str, text: str) -> list[str]:
    used = [module for module, level in imports(text) if level == 0 and module.split(".")[0] == "tierplan"]
    return [module for module in used if part(module) not in MAY_IMPORT[folder] | {folder}]


def test_every_folder_with_sources_is_a_package() -> None:
    with_sources = {
        str(path.parent.relative_to(ROOT))
        for path in ROOT.rglob("*.py")
        if not path.relative_to(ROOT).parts[0].startswith(".") and path.relative_to(ROOT).parts[0] not in NO_PACKAGES
    }
    assert with_sources == set(FOLDERS.values())


def test_every_package_is_listed_has_a_folder_and_an_init() -> None:
    assert sorted(PACKAGES) == sorted(FOLDERS)
    for name, folder in FOLDERS.items():
        assert (ROOT / folder / "__init__.py").is_file()
        assert name.split(".")[1:] == (folder.split("/")[1:] if folder.startswith("api") else folder.split("/"))


def test_files_that_are_no_source_are_listed_as_package_data() -> None:
    data: dict[str, list[str]] = PYPROJECT["tool"]["setuptools"]["package-data"]
    for name, folder in FOLDERS.items():
        inner = [ROOT / other for other in FOLDERS.values() if other != folder and other.startswith(f"{folder}/")]
        files = {
            path
            for path in (ROOT / folder).rglob("*")
            if path.is_file()
            and path.suffix not in (".py", ".pyc")
            and not set(inner) & set(path.parents)
            and path.parent.name != "__pycache__"
        }
        listed = {p for pattern in data.get(name, []) for p in (ROOT / folder).glob(pattern)}
        assert files == listed


def test_the_root_is_no_package_and_no_folder_shadows_the_name() -> None:
    assert not (ROOT / "__init__.py").exists()
    assert not (ROOT / "conftest.py").exists()
    assert not (ROOT / "tierplan").exists()


def test_the_versions_agree() -> None:
    assert PYPROJECT["project"]["version"] == tierplan.__version__


@pytest.mark.parametrize("folder", sorted(MAY_IMPORT))
def test_imports_point_one_way(folder: str) -> None:
    wrong = {str(path): wrong_imports(folder, path.read_text(encoding="utf-8")) for path in sources(folder)}
    assert {path: modules for path, modules in wrong.items() if modules} == {}


@pytest.mark.parametrize(
    ("folder", "text"),
    [
        ("planner", "from tierplan.sim.timeline import simulate"),
        ("sim", "def f():\n    import tierplan.planner.greedy"),
        ("ir", "from tierplan import pipeline"),
        ("einsum", "if True:\n    from tierplan.frontend import config"),
        ("rl", "from tierplan.cli import main"),
        ("planner", "from tierplan.models import load"),
        ("hardware", "import tierplan"),
    ],
)
def test_a_wrong_import_is_seen(folder: str, text: str) -> None:
    assert wrong_imports(folder, text)


def test_no_import_is_relative_or_of_a_bare_folder() -> None:
    for path in sources():
        for module, level in imports(path.read_text(encoding="utf-8")):
            assert level == 0, path
            assert module.split(".")[0] not in set(MAY_IMPORT) | {"api"}, path


def test_numba_is_only_in_kernels() -> None:
    users = {p for p in sources() if any(m.split(".")[0] == "numba" for m, _ in imports(p.read_text()))}
    assert {part for p in users for part in (p.name, p.parent.name) if part.startswith("_kernels")} == {
        "_kernels.py",
        "_kernels",
    }
    assert all(p.name == "_kernels.py" or p.parent.name == "_kernels" for p in users)


def heavy_after(statement: str) -> list[str]:
    """Which heavy packages a fresh interpreter has loaded after a statement."""
    code = f"import sys\ntry:\n    {statement}\nexcept SystemExit:\n    pass\n"
    code += f"print('LOADED', *[m for m in {HEAVY!r} if m in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=ROOT / "tests")
    return done.stdout.splitlines()[-1].split()[1:]


@pytest.mark.parametrize(
    "statement",
    ["import tierplan", "sys.argv = ['tierplan', '--help']; import tierplan.cli; tierplan.cli.main()"],
)
def test_start_up_pulls_in_nothing_heavy(statement: str) -> None:
    assert heavy_after(statement) == []


def test_something_heavy_would_be_seen() -> None:
    assert heavy_after("import tierplan.sim._kernels") == ["numba"]
