"""What every engine that samples must do.

A module that subclasses it gives an `engine` of `tiny_random_policy`.
"""

from collections import Counter
from pathlib import Path

import pytest
import torch
from scipy.stats import chisquare
from transformers import AutoModelForCausalLM, AutoTokenizer

from rewardscope.engines import Engine
from rewardscope.errors import TooLong
from rewardscope.problems.prompts import encode_prompt
from rewardscope.records import Completion

QUESTIONS = (
    "Tom has 5 apples.",
    "x",
    "Lena 7 9",
    "How many coins does Max have now? He has 12.",
    "Is it 3 or 4?",
)
SAMPLING = {"stop": (), "temperature": 1.0, "top_p": 1.0, "max_tokens": 8}
GREEDY = {"n": 1, "stop": (), "temperature": 0.0, "top_p": 1.0}


def prompts_of(engine: Engine, questions: tuple[str, ...] = QUESTIONS) -> list[list[int]]:
    return [encode_prompt(engine.tokenizer, question) for question in questions]


def next_token_probabilities(folder: Path, prompt: list[int], temperature: float) -> torch.Tensor:
    """Return softmax(logits / temperature) after `prompt`, float64, by transformers alone."""
    model = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32).eval()
    with torch.no_grad():
        return (model(torch.tensor([prompt])).logits[0, -1].double() / temperature).softmax(dim=-1)


def assert_drawn_from(probabilities: torch.Tensor, counts: Counter[int]) -> None:
    """Chi-square at 1 in 1,000 (seeds are fixed, so the outcome is too); tokens expected less than
    5 times are pooled.
    """
    n = sum(counts.values())
    expected = {token: n * p for token, p in enumerate(probabilities.tolist())}
    common = [token for token, count in expected.items() if count >= 5]
    assert len(common) >= 5, "the distribution is too peaked to test anything"
    observed = [counts[token] for token in common] + [n - sum(counts[token] for token in common)]
    wanted = [expected[token] for token in common] + [n - sum(expected[token] for token in common)]
    assert wanted[-1] >= 5
    assert chisquare(observed, wanted).pvalue > 1e-3


def sampled_tokens(
    engine: Engine, prompt: list[int], *, n: int, temperature: float, top_p: float
) -> Counter[int]:
    """Return how often each token came first; the end token is the one that leaves no ids."""
    (completions,) = engine.generate(
        [prompt], n=n, stop=(), temperature=temperature, top_p=top_p, max_tokens=1, seeds=[7]
    )
    end = engine.tokenizer.eos_token_id
    assert isinstance(end, int)
    return Counter(
        completion.token_ids[0] if completion.token_ids else end for completion in completions
    )


class EngineContract:
    """The tests, for whatever `engine` is."""

    def test_there_are_n_completions_for_each_prompt_in_order(self, engine: Engine) -> None:
        prompts = prompts_of(engine)
        together = engine.generate(prompts, n=3, seeds=range(5), **SAMPLING)
        assert [len(completions) for completions in together] == [3] * len(prompts)
        for index, prompt in enumerate(prompts):
            assert engine.generate([prompt], n=3, seeds=[index], **SAMPLING) == [together[index]]

    def test_no_prompts_give_no_completions(self, engine: Engine) -> None:
        assert engine.generate([], n=2, seeds=[], **SAMPLING) == []

    def test_greedy_ids_equal_those_of_transformers(
        self, engine: Engine, tiny_random_policy: Path
    ) -> None:
        model = AutoModelForCausalLM.from_pretrained(tiny_random_policy, dtype=torch.float32).eval()
        prompts = prompts_of(engine)
        completions = engine.generate(prompts, max_tokens=60, seeds=[0] * len(prompts), **GREEDY)
        for prompt, (completion,) in zip(prompts, completions, strict=True):
            ids = torch.tensor([prompt])
            out = model.generate(
                ids, attention_mask=torch.ones_like(ids), do_sample=False, max_new_tokens=60
            )[0, len(prompt) :].tolist()
            ended = out[-1] == engine.tokenizer.eos_token_id
            assert completion.token_ids == tuple(out[:-1] if ended else out)
            assert completion.finish == ("eos" if ended else "length")

    def test_greedy_samples_are_all_the_same(self, engine: Engine) -> None:
        prompts = prompts_of(engine)
        one = engine.generate(prompts, max_tokens=10, seeds=[0] * len(prompts), **GREEDY)
        three = engine.generate(
            prompts, max_tokens=10, seeds=[5] * len(prompts), **{**GREEDY, "n": 3}
        )
        assert three == [completions * 3 for completions in one]

    def test_reuse_changes_no_token(self, engine: Engine) -> None:
        options = {"n": 3, "stop": ("a", "e"), "temperature": 1.5, "top_p": 1.0, "max_tokens": 12}
        prompts, grown = prompts_of(engine), 0
        for depth in range(5):
            seeds = range(100 * depth, 100 * depth + len(prompts))
            anew, reused = (
                engine.generate(prompts, **options, seeds=seeds, reuse=reuse)
                for reuse in (False, True)
            )
            assert reused == anew
            longer = [
                [*p, *c.token_ids]
                for p, row in zip(prompts, anew, strict=True)
                for c in row
                if c.finish == "stop"
            ]
            grown += len(longer)
            prompts = longer[:10] or prompts
        assert grown > 10

    def test_finish_says_what_ended_each_completion(self, engine: Engine) -> None:
        stop, max_tokens, end = (" is", "T"), 100, engine.tokenizer.eos_token_id
        prompts = prompts_of(engine)
        rows = engine.generate(
            prompts,
            n=8,
            stop=stop,
            temperature=1.5,
            top_p=1.0,
            max_tokens=max_tokens,
            seeds=range(5),
        )
        completions = [completion for row in rows for completion in row]
        for completion in completions:
            found = any(text in completion.text for text in stop)
            assert (completion.finish == "stop") == found
            assert completion.finish != "length" or len(completion.token_ids) == max_tokens
            assert end not in completion.token_ids
        assert {completion.finish for completion in completions} == {"stop", "eos", "length"}

    def test_text_is_the_decoding_of_all_ids_without_special_tokens(self, engine: Engine) -> None:
        rows = engine.generate(
            prompts_of(engine),
            n=4,
            stop=(),
            temperature=1.5,
            top_p=1.0,
            max_tokens=40,
            seeds=range(5),
        )
        completions = [completion for row in rows for completion in row]
        for completion in completions:
            assert completion.text == engine.tokenizer.decode(
                completion.token_ids, skip_special_tokens=True
            )
        assert any(
            "<|" in str(engine.tokenizer.decode(completion.token_ids)) for completion in completions
        ), "no special token was drawn"
        assert not any("<|" in completion.text for completion in completions)

    def test_the_token_that_completes_a_stop_string_ends_the_text_and_is_kept_whole(
        self, engine: Engine
    ) -> None:
        prompt = prompts_of(engine)[0]
        texts, whole = self._greedy_tokens(engine, prompt)
        place = next(
            i
            for i, text in enumerate(texts)
            if len(text) >= 4 and text.isascii() and text[1:3] not in "".join(texts[:i])
        )
        ((completion,),) = engine.generate(
            [prompt], max_tokens=60, seeds=[0], **{**GREEDY, "stop": ("~never~", texts[place][1:3])}
        )
        assert completion.token_ids == whole.token_ids[: place + 1]
        assert completion.finish == "stop"
        assert completion.text.endswith(texts[place])

    def test_a_stop_string_may_span_tokens(self, engine: Engine) -> None:
        prompt = prompts_of(engine)[0]
        texts, whole = self._greedy_tokens(engine, prompt)
        spans = [texts[i - 1][-1:] + texts[i][:1] for i in range(1, len(texts))]
        place = next(
            i
            for i, s in enumerate(spans, start=1)
            if s.isascii() and s.isprintable() and len(s) == 2 and s not in "".join(texts[:i])
        )
        ((completion,),) = engine.generate(
            [prompt], max_tokens=60, seeds=[0], **{**GREEDY, "stop": (spans[place - 1],)}
        )
        assert completion.token_ids == whole.token_ids[: place + 1]
        assert completion.finish == "stop"

    @staticmethod
    def _greedy_tokens(engine: Engine, prompt: list[int]) -> tuple[list[str], Completion]:
        ((whole,),) = engine.generate([prompt], max_tokens=60, seeds=[0], **GREEDY)
        return [str(engine.tokenizer.decode([token])) for token in whole.token_ids], whole

    def test_a_stop_string_is_not_looked_for_in_the_prompt(self, engine: Engine) -> None:
        prompt = prompts_of(engine)[1]
        ((completion,),) = engine.generate(
            [prompt], max_tokens=3, seeds=[0], **{**GREEDY, "stop": ("assistant\n",)}
        )
        assert (completion.finish, len(completion.token_ids)) == ("length", 3)

    def test_the_same_seed_gives_the_same_text_whatever_is_in_the_batch(
        self, engine: Engine
    ) -> None:
        prompts, seeds = prompts_of(engine), [11, 12, 13, 14, 15]
        together = engine.generate(prompts, n=4, seeds=seeds, **SAMPLING)
        backwards = engine.generate(prompts[::-1], n=4, seeds=seeds[::-1], **SAMPLING)
        fewer = engine.generate(prompts[:2], n=2, seeds=seeds[:2], **SAMPLING)
        assert backwards[::-1] == together
        assert fewer == [completions[:2] for completions in together[:2]]

    def test_other_seeds_other_samples_and_neighbouring_seeds_give_other_texts(
        self, engine: Engine
    ) -> None:
        prompt = prompts_of(engine)[0]
        rows = engine.generate([prompt] * 3, n=4, seeds=[0, 1, 2], **SAMPLING)
        texts = [completion.text for row in rows for completion in row]
        assert len(set(texts)) == len(texts)

    def test_sampling_follows_the_softmax_at_the_temperature(
        self, engine: Engine, tiny_random_policy: Path
    ) -> None:
        prompt = prompts_of(engine)[0]
        counts = sampled_tokens(engine, prompt, n=1500, temperature=0.5, top_p=1.0)
        assert_drawn_from(next_token_probabilities(tiny_random_policy, prompt, 0.5), counts)

    def test_top_p_keeps_the_fewest_tokens_that_hold_that_share(
        self, engine: Engine, tiny_random_policy: Path
    ) -> None:
        prompt = prompts_of(engine)[0]
        probabilities = next_token_probabilities(tiny_random_policy, prompt, 1.0)
        kept, held = [], 0.0
        for token in sorted(range(len(probabilities)), key=lambda token: -probabilities[token]):
            kept.append(token)
            held += float(probabilities[token])
            if held >= 0.6:
                break
        counts = sampled_tokens(engine, prompt, n=600, temperature=1.0, top_p=0.6)
        assert set(counts) <= set(kept)
        nucleus = torch.tensor([float(probabilities[token]) for token in kept]) / held
        observed = [counts[token] for token in kept]
        assert (
            chisquare(observed, (nucleus.double() / nucleus.double().sum() * 600).tolist()).pvalue
            > 1e-3
        )

    def test_prompt_and_completion_stay_within_the_positions(self, engine: Engine) -> None:
        long = (prompts_of(engine)[3] * 40)[: engine.max_positions - 5]
        longest = (long * 2)[: engine.max_positions - 1]
        rows = engine.generate(
            [long, longest], n=2, stop=(), temperature=1.0, top_p=1.0, max_tokens=50, seeds=[0, 1]
        )
        for row, room in zip(rows, (5, 1), strict=True):
            for completion in row:
                assert len(completion.token_ids) <= room
                assert completion.finish == "eos" or (
                    completion.finish == "length" and len(completion.token_ids) == room
                )

    def test_a_prompt_that_fills_the_positions_is_refused(self, engine: Engine) -> None:
        prompts = prompts_of(engine)
        too_long = (prompts[0] * 40)[: engine.max_positions]
        with pytest.raises(
            TooLong,
            match=(
                f"prompt 1 has {engine.max_positions} tokens, the policy has {engine.max_positions}"
                " positions"
            ),
        ):
            engine.generate([prompts[0], too_long], n=1, seeds=[0, 0], **SAMPLING)

    def test_the_tokenizer_is_the_policys_own(
        self, engine: Engine, tiny_random_policy: Path
    ) -> None:
        assert (
            engine.tokenizer.get_vocab()
            == AutoTokenizer.from_pretrained(tiny_random_policy).get_vocab()
        )
