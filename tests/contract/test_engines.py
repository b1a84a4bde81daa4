"""The hf engine and the scripted one under the contract, and what is theirs alone. vLLM's turn is
in tests/vllm.
"""

import json
import shutil
from pathlib import Path

import pytest
from tokenizers import Tokenizer, decoders, models, pre_tokenizers
from transformers import PreTrainedTokenizerFast

from rewardscope.engines import choose_engine, hf, load_engine
from rewardscope.engines.completions import Detokenizer, StopFinder
from rewardscope.engines.hf import HfEngine
from rewardscope.engines.scripted import ScriptedEngine
from rewardscope.errors import ConfigError, MissingInput, TooLong
from rewardscope.tiny.tokenizer import build_tokenizer
from tests.contract.engine_contract import GREEDY, SAMPLING, EngineContract, prompts_of


@pytest.fixture(scope="module")
def engine(tiny_random_policy: Path) -> HfEngine:
    return HfEngine(str(tiny_random_policy), device="cpu")


@pytest.fixture(scope="module")
def scripted() -> ScriptedEngine:
    def script(prompt: str, seed: int, sample: int) -> str:
        return f"{prompt} {seed} {sample}\n\nTom has 5 apples."

    return ScriptedEngine(build_tokenizer(n_problems=50), script, max_positions=100)


class TestHfEngine(EngineContract):
    def test_more_samples_than_rows_in_flight_change_nothing(
        self, engine: HfEngine, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        prompts = prompts_of(engine)
        roomy = engine.generate(prompts, n=4, seeds=range(5), **SAMPLING)
        monkeypatch.setattr(hf, "MAX_ROWS", {"cpu": 3})
        assert engine.generate(prompts, n=4, seeds=range(5), **SAMPLING) == roomy

    def test_a_small_memory_changes_nothing(
        self, engine: HfEngine, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        prompts = prompts_of(engine)
        roomy = engine.generate(prompts, n=4, seeds=range(5), **SAMPLING)
        monkeypatch.setattr(hf, "CPU_CACHE_BYTES", 1)
        assert engine.generate(prompts, n=4, seeds=range(5), **SAMPLING) == roomy

    def test_a_long_text_outgrows_the_buffers_and_stays_the_same(
        self, engine: HfEngine, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        prompts = prompts_of(engine)
        roomy = engine.generate(prompts, max_tokens=60, seeds=[0] * 5, **GREEDY)
        monkeypatch.setattr("rewardscope.models.cache.ROOM", 1)
        assert engine.generate(prompts, max_tokens=60, seeds=[0] * 5, **GREEDY) == roomy


def test_every_end_token_of_the_generation_config_ends_a_text(
    tiny_random_policy: Path, tmp_path: Path
) -> None:
    folder = shutil.copytree(tiny_random_policy, tmp_path / "two-ends")
    engine = HfEngine(str(tiny_random_policy), device="cpu")
    prompt = prompts_of(engine)[0]
    ((whole,),) = engine.generate([prompt], max_tokens=10, seeds=[0], **GREEDY)
    other_end = whole.token_ids[4]
    config = json.loads((folder / "generation_config.json").read_text())
    (folder / "generation_config.json").write_text(
        json.dumps(config | {"eos_token_id": [config["eos_token_id"], other_end]})
    )
    ((completion,),) = HfEngine(str(folder), device="cpu").generate(
        [prompt], max_tokens=10, seeds=[0], **GREEDY
    )
    assert completion.token_ids == whole.token_ids[: whole.token_ids.index(other_end)]
    assert completion.finish == "eos"


@pytest.mark.parametrize(
    ("name", "problem"),
    [
        ("no/such/folder", "is not there; no/such is no folder"),
        ("absent", "is not there"),
        ("./absent", "is not there"),
    ],
)
def test_a_model_that_is_not_there_is_one_line_with_the_next_step(name: str, problem: str) -> None:
    with pytest.raises(
        MissingInput, match=f"model folder {name} {problem}; pass a folder or a hub id such as"
    ) as error:
        load_engine(name, engine="hf")
    assert "\n" not in str(error.value)


def test_a_folder_that_holds_no_model_is_one_line(tmp_path: Path) -> None:
    with pytest.raises(MissingInput, match=r"has no config\.json"):
        load_engine(str(tmp_path), engine="hf")


def test_a_folder_without_safetensors_is_one_line(tiny_random_policy: Path, tmp_path: Path) -> None:
    folder = shutil.copytree(tiny_random_policy, tmp_path / "no-weights")
    (folder / "model.safetensors").unlink()
    with pytest.raises(MissingInput, match="cannot be loaded") as error:
        load_engine(str(folder), engine="hf")
    assert "\n" not in str(error.value)


def test_vllm_that_is_not_installed_is_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(
        ConfigError, match="vllm is not installed; uv sync --extra vllm, or pass --engine hf"
    ):
        choose_engine("vllm")
    assert choose_engine("auto") == "hf"


def _sentencepiece_like() -> PreTrainedTokenizerFast:
    """Return a tokenizer that marks spaces in its tokens and strips the first one when it decodes,
    as Llama 2's does.
    """
    tokenizer = Tokenizer(
        models.WordLevel(
            {token: i for i, token in enumerate(("<s>", "</s>", "▁a", "▁b", "c", "▁", "\n"))},
            unk_token="<s>",
        )
    )
    tokenizer.pre_tokenizer = pre_tokenizers.Metaspace()
    tokenizer.decoder = decoders.Sequence(
        [decoders.Replace("▁", " "), decoders.Fuse(), decoders.Strip(" ", 1, 0)]
    )
    return PreTrainedTokenizerFast(tokenizer_object=tokenizer, bos_token="<s>", eos_token="</s>")


def test_the_space_before_the_first_word_is_kept_where_the_tokenizer_strips_it() -> None:
    tokenizer = _sentencepiece_like()
    assert tokenizer.decode([2, 4]) == "ac"
    assert Detokenizer(tokenizer).text([0, 3], [2, 4, 3]) == " ac b"
    assert Detokenizer(tokenizer).text([0, 3, 1], [2, 1, 3]) == " a b"


def test_special_tokens_that_part_thoughts_from_the_solution_stay_in_the_text() -> None:
    tokenizer = build_tokenizer(n_problems=1)
    tokenizer.add_special_tokens({"additional_special_tokens": ["</think>", "<|other|>"]})
    ids = tokenizer("a</think>b<|other|>c")["input_ids"]
    assert len(ids) == 5 and Detokenizer(tokenizer).text([], ids) == "a</think>bc"


def test_a_stop_string_that_ends_with_a_stripped_space_is_found() -> None:
    finder = StopFinder(Detokenizer(_sentencepiece_like()), ("c ",))
    assert [finder.completes([0, 3], ids) for ids in ([2], [2, 4], [2, 4, 5])] == [
        False,
        False,
        True,
    ]


def test_a_stop_string_of_several_bytes_a_character_is_complete_at_its_last_byte() -> None:
    tokenizer = build_tokenizer(n_problems=1)
    ids = tokenizer("aки")["input_ids"]
    assert len(ids) == 5
    finder = StopFinder(Detokenizer(tokenizer), ("ки",))
    assert [finder.completes(ids, ids[: i + 1]) for i in range(5)] == [
        False,
        False,
        False,
        False,
        True,
    ]


class TestScriptedEngine:
    def test_it_says_the_script_by_prompt_seed_and_sample(self, scripted: ScriptedEngine) -> None:
        prompts = [scripted.tokenizer(text)["input_ids"] for text in ("a", "b")]
        rows = scripted.generate(prompts, n=2, seeds=[3, 4], **{**SAMPLING, "max_tokens": 90})
        texts = [[completion.text.split("\n\n")[0] for completion in row] for row in rows]
        assert texts == [["a 3 0", "a 3 1"], ["b 4 0", "b 4 1"]]
        assert {completion.finish for row in rows for completion in row} == {"eos"}

    def test_greedy_is_the_first_sample(self, scripted: ScriptedEngine) -> None:
        rows = scripted.generate(
            [scripted.tokenizer("a")["input_ids"]], max_tokens=90, seeds=[3], **{**GREEDY, "n": 2}
        )
        assert [completion.text for completion in rows[0]] == ["a 3 0\n\nTom has 5 apples."] * 2

    def test_it_stops_and_cuts_as_the_real_engines_do(self, scripted: ScriptedEngine) -> None:
        prompt = scripted.tokenizer("a")["input_ids"]
        ((stopped,),) = scripted.generate(
            [prompt], max_tokens=90, seeds=[3], **{**GREEDY, "stop": ("\n\n",)}
        )
        ((cut,),) = scripted.generate([prompt], max_tokens=2, seeds=[3], **GREEDY)
        assert (stopped.text, stopped.finish) == ("a 3 0\n\n", "stop")
        assert (cut.token_ids, cut.finish) == (
            tuple(scripted.tokenizer("a 3 0")["input_ids"][:2]),
            "length",
        )
        with pytest.raises(TooLong):
            scripted.generate([prompt * 100], max_tokens=2, seeds=[3], **GREEDY)
