"""The radix tree of kept tokens, worked out by hand."""

import pytest
import torch
from transformers import Qwen2Config, Qwen2ForCausalLM

from rewardscope.models.cache import growing_cache
from rewardscope.models.prefix import Computed, PrefixCache


@pytest.fixture(scope="module")
def model() -> Qwen2ForCausalLM:
    torch.manual_seed(0)
    config = Qwen2Config(
        vocab_size=32,
        hidden_size=16,
        intermediate_size=16,
        num_hidden_layers=2,
        num_attention_heads=2,
        num_key_value_heads=1,
    )
    return Qwen2ForCausalLM(config).eval()


def _keep(kept: PrefixCache, model: Qwen2ForCausalLM, *sequences: list[int]) -> None:
    kept.begin()
    for ids in sequences:
        cache = growing_cache(model)
        with torch.no_grad():
            model(input_ids=torch.tensor([ids]), past_key_values=cache, use_cache=True)
        kept.save(cache, [Computed(ids, 0, 0, 0)])


def test_the_longest_kept_beginning_is_found_and_stretches_are_split_where_sequences_part(
    model: Qwen2ForCausalLM,
) -> None:
    kept = PrefixCache(model, max_bytes=1 << 20)
    _keep(kept, model, [1, 2, 3, 4], [1, 2, 5], [7])
    for ids, depth in (
        ([1, 2, 3, 4, 9], 4),
        ([1, 2, 3], 3),
        ([1, 2, 6], 2),
        ([1, 2, 5, 5], 3),
        ([7, 7], 1),
        ([8], 0),
        ([], 0),
    ):
        assert kept.find(ids).depth == depth, ids


def test_loaded_prefixes_continue_as_if_computed_in_one_go(model: Qwen2ForCausalLM) -> None:
    kept = PrefixCache(model, max_bytes=1 << 20)
    _keep(kept, model, [1, 2, 3, 4], [1, 2, 5])
    rows = [[1, 2, 3, 4], [1, 2, 5]]
    cache, mask = kept.load([kept.find(ids) for ids in rows], room=2)
    assert mask.tolist() == [[True] * 4, [False, True, True, True]]
    with torch.no_grad():
        out = model(
            input_ids=torch.tensor([[9, 8], [9, 8]]),
            attention_mask=torch.cat([mask, torch.ones(2, 2, dtype=torch.bool)], dim=1),
            position_ids=torch.tensor([[4, 5], [3, 4]]),
            past_key_values=cache,
            use_cache=True,
        )
        for row, ids in enumerate(rows):
            whole = model(input_ids=torch.tensor([[*ids, 9, 8]])).logits[0, -2:]
            torch.testing.assert_close(out.logits[row], whole, rtol=0, atol=1e-5)


def test_notes_stay_at_their_positions_when_stretches_are_split(model: Qwen2ForCausalLM) -> None:
    kept = PrefixCache(model, max_bytes=1 << 20)
    _keep(kept, model, [1, 2, 3, 4])
    kept.note([1, 2, 3, 4], 1, 0.1)
    kept.note([1, 2, 3, 4], 3, 0.3)
    _keep(kept, model, [1, 2, 3, 9])
    assert kept.notes([1, 2, 3, 4])[1] == {1: 0.1, 3: 0.3}
    assert kept.notes([1, 2, 3, 9])[1] == {1: 0.1}
    assert kept.notes([1])[1] == {}


def test_what_was_not_used_longest_goes_first(model: Qwen2ForCausalLM) -> None:
    token = 2 * 2 * 8 * 4  # bytes: 2 layers, keys and values, one head of 8 numbers of 4 bytes
    kept = PrefixCache(model, max_bytes=6 * token)
    _keep(kept, model, [1, 2, 3])
    _keep(kept, model, [4, 5, 6])
    kept.begin()
    kept.find([1, 2, 3])
    _keep(kept, model, [7, 8])
    assert [kept.find(ids).depth for ids in ([1, 2, 3], [4, 5, 6], [7, 8])] == [3, 0, 2]
    assert not kept.is_full


def test_where_all_is_in_use_nothing_more_is_kept(model: Qwen2ForCausalLM) -> None:
    kept = PrefixCache(model, max_bytes=3 * 128)
    _keep(kept, model, [1, 2, 3], [4])
    assert kept.is_full
    assert kept.find([1, 2, 3]).depth == 3 and kept.find([4]).depth == 0
