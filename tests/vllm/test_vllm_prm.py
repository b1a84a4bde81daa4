"""vLLM's scores of a PRM against those of the scorer in this process."""

from pathlib import Path

import pytest

pytest.importorskip("vllm")

from rewardscope.errors import TooLong
from rewardscope.prms import load_scorer
from tests.unit.prms.tiny_prm import make_prm, random_solutions

# vLLM and what it imports warn on their own
pytestmark = [pytest.mark.vllm, pytest.mark.filterwarnings("default")]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_prm(tmp_path_factory.mktemp("prm"))


def test_vllm_scores_equal_ours_within_a_thousandth(folder: Path) -> None:
    ours, theirs = (load_scorer(str(folder), engine=engine) for engine in ("hf", "vllm"))
    solutions = [*random_solutions(49, seed=8), ("a", ["3 " * 150, "4 " * 10])]
    batch = [ours.encode(question, steps) for question, steps in solutions]
    assert [theirs.encode(question, steps) for question, steps in solutions] == batch
    expected, scores = ours.score(batch), theirs.score(batch)
    for row, other in zip(expected, scores, strict=True):
        assert other == pytest.approx(row, abs=1e-3)
    flat = [score for row in expected for score in row]
    assert max(flat) - min(flat) > 0.1
    assert theirs.max_positions == ours.max_positions
    assert (
        theirs.tokens_encoded
        == ours.tokens_encoded
        == sum(len(encoded.input_ids) for encoded in batch)
    )
    with pytest.raises(TooLong):
        theirs.encode("a", ["3 " * theirs.max_positions])
