"""The rules of the house, checked on the source itself."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

PROJECT = Path(__file__).parents[2]
SOURCE = PROJECT / "src" / "rewardscope"
# A module may import from layers with a smaller number, and from its own package.
LAYERS = {
    "errors": 0,
    "records": 1,
    "settings": 2,
    "paths": 2,
    "layers": 2,
    "stopping": 2,
    "splits": 2,
    "log": 3,
    "statistics": 3,
    "storage": 4,
    "stage": 5,
    "problems": 5,
    "models": 5,
    "engines": 6,
    "prms": 6,
    "capturing": 7,
    "interventions": 7,
    "search": 8,
    "probes": 8,
    "sae": 8,
    "features": 8,
    "dashboard": 8,
    "tiny": 8,
    "stages": 9,
    "api": 10,
    "cli": 10,
    "__main__": 11,
}
SIDEWAYS = {("features", "sae"), ("dashboard", "features"), ("dashboard", "sae")}
HEAVY = (
    "torch",
    "transformers",
    "vllm",
    "datasets",
    "sklearn",
    "matplotlib",
    "wandb",
    "pandas",
    "math_verify",
    "numpy",
)


def _package(module: str) -> str:
    return module.split(".")[1] if module.count(".") else ""


def _imports(path: Path) -> list[str]:
    found = []
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if (
            isinstance(node, ast.ImportFrom)
            and node.module
            and node.module.startswith("rewardscope")
        ):
            names = (
                [node.module]
                if node.module != "rewardscope"
                else [f"rewardscope.{alias.name}" for alias in node.names]
            )
            found += names
    return found


@pytest.mark.parametrize(
    "path", sorted(SOURCE.rglob("*.py")), ids=lambda path: str(path.relative_to(SOURCE))
)
def test_imports_go_one_way(path: Path) -> None:
    own = path.relative_to(SOURCE).parts[0].removesuffix(".py")
    if own == "__init__":
        return
    for module in _imports(path):
        other = _package(module)
        allowed = other == own or LAYERS[other] < LAYERS[own] or (own, other) in SIDEWAYS
        assert allowed, f"{path.name} ({own}) must not import {module}"


WRITTEN = [
    path
    for folder in (SOURCE, PROJECT / "figures", PROJECT / "tests")
    for path in sorted(folder.rglob("*.py"))
]


@pytest.mark.parametrize("path", WRITTEN, ids=lambda path: str(path.relative_to(PROJECT)))
def test_files_have_at_most_300_lines_and_those_at_most_100_characters(path: Path) -> None:
    lines = path.read_text(encoding="utf-8").splitlines()
    assert len(lines) <= 300
    assert [line for line in lines if len(line) > 100] == []


def test_listing_the_tasks_imports_no_heavy_library() -> None:
    code = (
        f"import sys, tasks; loaded = [m for m in {HEAVY!r} if m in sys.modules]; assert not"
        " loaded, loaded"
    )
    subprocess.run([sys.executable, "-c", code], cwd=PROJECT, check=True)


def test_the_table_of_contents_fits_a_screen() -> None:
    assert len((PROJECT / "tasks.py").read_text(encoding="utf-8").splitlines()) <= 80
