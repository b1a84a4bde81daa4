"""The vLLM engine under the same contract as the hf engine, and the two side by side."""

import shutil
from pathlib import Path

import pytest

pytest.importorskip("vllm", reason="vllm is not installed")

from rewardscope.engines import Engine, load_engine
from rewardscope.paths import TINY
from rewardscope.problems.prompts import encode_prompt
from rewardscope.problems.tinymath import load_tinymath
from tests.contract.engine_contract import GREEDY, EngineContract, prompts_of

# vLLM and what it imports warn on their own
pytestmark = [pytest.mark.vllm, pytest.mark.filterwarnings("default")]


@pytest.fixture(scope="module")
def engine(tiny_random_policy: Path) -> Engine:
    return load_engine(str(tiny_random_policy), engine="vllm")


@pytest.fixture(scope="module")
def hf_engine(tiny_random_policy: Path) -> Engine:
    return load_engine(str(tiny_random_policy), engine="hf")


class TestVllmEngine(EngineContract):
    pass


def test_both_engines_agree_on_what_a_prompt_may_hold(engine: Engine, hf_engine: Engine) -> None:
    assert type(engine).__name__ == "VllmEngine"
    assert engine.max_positions == hf_engine.max_positions == 256


@pytest.mark.parametrize("stop", [(), (" is", "T", "\n\n", "2")])
def test_greedy_completions_equal_those_of_hf(
    engine: Engine, hf_engine: Engine, stop: tuple[str, ...]
) -> None:
    prompts = prompts_of(
        engine, tuple(f"Is {number} more than {number // 2}?" for number in range(2, 52))
    )
    ours, theirs = (
        e.generate(prompts, max_tokens=40, seeds=[0] * 50, **{**GREEDY, "stop": stop})
        for e in (hf_engine, engine)
    )
    assert theirs == ours


def test_greedy_completions_of_the_shipped_policy_equal_those_of_hf() -> None:
    folder = TINY / "tiny-instruct"
    if not (folder / "config.json").is_file():
        pytest.skip("the shipped models are not built")
    both = {}
    for name in ("hf", "vllm"):
        engine = load_engine(str(folder), engine=name)
        prompts = [
            encode_prompt(engine.tokenizer, problem.question) for problem in load_tinymath()[:50]
        ]
        both[name] = [
            row[0] for row in engine.generate(prompts, max_tokens=300, seeds=[0] * 50, **GREEDY)
        ]
    different = [
        (ours.text, theirs.text)
        for ours, theirs in zip(both["hf"], both["vllm"], strict=True)
        if ours != theirs
    ]
    assert different == []
    assert sum(completion.finish == "eos" for completion in both["hf"]) > 25


def test_a_second_end_token_ends_a_text_and_is_not_kept(
    engine: Engine, tiny_random_policy: Path, tmp_path: Path
) -> None:
    prompt = prompts_of(engine)[0]
    ((whole,),) = engine.generate([prompt], max_tokens=10, seeds=[0], **GREEDY)
    end = whole.token_ids[4]
    folder = shutil.copytree(tiny_random_policy, tmp_path / "two-ends")
    config = (folder / "generation_config.json").read_text()
    own = engine.tokenizer.eos_token_id
    (folder / "generation_config.json").write_text(
        config.replace(f'"eos_token_id": {own}', f'"eos_token_id": [{own}, {end}]')
    )
    ((completion,),) = load_engine(str(folder), engine="vllm").generate(
        [prompt], max_tokens=10, seeds=[0], **GREEDY
    )
    assert completion.token_ids == whole.token_ids[: whole.token_ids.index(end)]
    assert completion.finish == "eos"
