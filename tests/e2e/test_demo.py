"""The demo: the whole chain on the shipped models, skipped when run again, recomputed only where
something is missing.
"""

import json
from pathlib import Path

import pytest

from rewardscope.paths import TINY
from rewardscope.settings import Settings
from rewardscope.stages import demo, figures

pytestmark = pytest.mark.skipif(
    not (TINY / "tiny-prm" / "model.safetensors").is_file(),
    reason="the shipped models are not built",
)
CONFIG = demo.Config(limit=14)
# figures of prm-bench, sae-quality and the like, which the demo leaves out
OF_OTHER_TASKS = {"first_error", "injection", "prm_bench", "prm_inputs", "reward_kept"} | {
    "sae_bench",
    "step_calibration",
    "step_errors",
}


def manifests(home: Path) -> dict[str, str]:
    """Return the text of every manifest; a result that is made again gets another one."""
    return {str(path.relative_to(home)): path.read_text() for path in home.rglob("*manifest.json")}


def made_again(before: dict[str, str], after: dict[str, str]) -> set[str]:
    assert set(before) == set(after)
    return {name for name in before if before[name] != after[name]}


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    settings = Settings(data_dir=tmp_path_factory.mktemp("demo"))
    return demo.run(CONFIG, settings)


def rerun(home: Path) -> None:
    demo.run(CONFIG, Settings(data_dir=home.parent))


def test_every_stage_leaves_a_whole_result(home: Path) -> None:
    for name, text in manifests(home).items():
        manifest = json.loads(text)
        root = (home / name).parent
        assert manifest["outputs"], name
        assert all((root / output).is_file() for output in manifest["outputs"]), name


def test_the_demo_shows_pages_and_figures(home: Path) -> None:
    assert list(home.glob("dash/*/index.html"))
    assert (
        {path.stem for path in (home / "figures").glob("*.pdf")}
        == {path.stem for path in (home / "figures").glob("*.png")}
        == set(figures.figure_names()) - OF_OTHER_TASKS
    )


def test_running_again_makes_nothing_again(home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    before = manifests(home)
    rerun(home)
    assert made_again(before, manifests(home)) == set()
    assert "train-sae" in capsys.readouterr().out


def test_a_missing_probe_table_remakes_the_probe_and_its_figure_alone(home: Path) -> None:
    before = manifests(home)
    (home / "math-rm-tiny-instruct_tinymath" / "linreg" / "reward" / "results.csv").unlink()
    rerun(home)
    assert made_again(before, manifests(home)) == {
        "math-rm-tiny-instruct_tinymath/linreg/reward/manifest.json",
        "figures/probes.png.manifest.json",
    }


def test_missing_generations_remake_all_that_depends_on_them(home: Path) -> None:
    before = manifests(home)
    (home / "tiny-reasoner_tinymath.jsonl").unlink()
    rerun(home)
    again = made_again(before, manifests(home))
    assert {
        "tiny-reasoner_tinymath.jsonl.manifest.json",
        "math-rm-tiny-reasoner_tinymath/manifest.json",
    } <= again
    assert "math-rm-tiny-instruct_tinymath/manifest.json" not in again
    assert "tiny-reasoner_tinymath_beam_search_prm.jsonl.manifest.json" not in again
    assert any(name.startswith("dash/") for name in again)
