"""The names that notebooks and other programs rely on: they change knowingly, here first."""

import importlib.metadata
import inspect
import subprocess
import sys

import pytest

import rewardscope

SIGNATURES = {
    "load_prm": "(name: str | pathlib.Path, *, device: str = 'auto')",
    "load_policy": "(name: str | pathlib.Path, *, device: str = 'auto')",
    "load_sae": "(path: str | pathlib.Path, *, device: str = 'auto')",
    "open_acts": "(folder: str | pathlib.Path)",
    "read_traces": "(path, *, kind='generations', side='modified', delimiter='\\n\\n')",
    "grade": "(text: str, gold: str, *, tolerance: float | None = None)",
    "capture": "(model, solved, *, layers, positions='step-ends', sample=64, seed=0)",
    "fit_probe": (
        "(acts, *, layer, target='reward', penalties='1e-3..1e4', folds=5, test_share=0.2, seed=0)"
    ),
    "edited": "(prm, site, change, *, where='solution')",
    "Estimate": "(*, value, low, high, n)",
}
METHODS = {
    "load_prm": ["direction", "encode", "n_layers", "score", "score_all", "states", "tokens"],
    "load_policy": ["solve", "states"],
}


def test_these_are_the_names() -> None:
    assert sorted(SIGNATURES) == sorted(rewardscope.__all__)
    assert set(rewardscope.__all__) <= set(dir(rewardscope))


@pytest.mark.parametrize("name", SIGNATURES)
def test_a_name_takes_what_it_took(name: str) -> None:
    signature = inspect.signature(getattr(rewardscope, name))
    bare = [p.replace(annotation=inspect.Parameter.empty) for p in signature.parameters.values()]
    expected = inspect.signature(eval(f"lambda {_plain(SIGNATURES[name])}: 0"))
    told = [p.replace(annotation=inspect.Parameter.empty) for p in expected.parameters.values()]
    assert [str(p) for p in bare] == [str(p) for p in told]


def _plain(signature: str) -> str:
    """Return parameters without their types, as a lambda takes them."""
    parts = [part.split("=") for part in signature[1:-1].split(", ")]
    return ", ".join(
        "=".join([part[0].split(":")[0].strip(), *(value.strip() for value in part[1:])])
        for part in parts
    )


@pytest.mark.parametrize("name", METHODS)
def test_the_objects_have_what_they_had(name: str) -> None:
    returned = inspect.signature(getattr(rewardscope, name)).return_annotation
    assert set(METHODS[name]) <= set(dir(returned))


@pytest.mark.parametrize("name", SIGNATURES)
def test_every_name_says_what_it_does(name: str) -> None:
    first = (inspect.getdoc(getattr(rewardscope, name)) or "").splitlines()[0]
    assert len(first) > 20


def test_importing_the_package_loads_no_heavy_library() -> None:
    code = "import sys, rewardscope; assert not {'torch', 'numpy', 'pandas'} & set(sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True)


def test_an_unknown_name_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="no attribute 'load_pmr'"):
        _ = rewardscope.load_pmr


def test_the_version_is_that_of_the_package() -> None:
    assert rewardscope.__version__ == importlib.metadata.version("rewardscope")
