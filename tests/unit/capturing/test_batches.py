"""KeptStates states against plain transformers, for every family, batch and layer; order, batches,
and what does not run.
"""

import pytest
import torch

from rewardscope.capturing.batches import (
    GROUP_TOKENS,
    WINDOW_TOKENS,
    KeptStates,
    capture_batches,
    plan_batches,
    plan_groups,
    stream_acts,
)
from rewardscope.capturing.inputs import TraceInput
from rewardscope.errors import UnknownName
from tests.act_files import as_rows
from tests.unit.capturing.capturing import (
    FAMILIES,
    LAYERS,
    WIDTH,
    BareSource,
    bare_source,
    item,
    random_items,
)

LENGTHS = (5, 41, 3, 17, 17, 80, 29, 2, 64)


def states_by_trace(
    source: BareSource, items: list[TraceInput], *, batch_tokens: int, layers: tuple[int, ...]
) -> dict[str, dict[int, torch.Tensor]]:
    found: dict[str, dict[int, torch.Tensor]] = {}
    for batch in stream_acts(source, items, layers, dtype=torch.float32, batch_tokens=batch_tokens):
        assert all(len(batch.rows) == len(acts_ND) for acts_ND in batch.acts.values())
        for one in items:
            mine = [
                number
                for number, row in enumerate(as_rows(batch.rows))
                if row.problem == one.problem
            ]
            if mine:
                assert batch.rows.token_N[mine].tolist() == list(one.positions)
                found[one.problem] = {layer: acts_ND[mine] for layer, acts_ND in batch.acts.items()}
    return found


@pytest.mark.parametrize("batch_tokens", [1, 90, 10_000])
@pytest.mark.parametrize("family", FAMILIES)
@torch.no_grad()
def test_every_layer_is_that_of_plain_transformers_in_any_batch(
    family: str, batch_tokens: int
) -> None:
    source, items = bare_source(family), random_items(LENGTHS)
    found = states_by_trace(source, items, batch_tokens=batch_tokens, layers=tuple(range(LAYERS)))
    assert len(found) == len(items)
    for one in items:
        hidden = source.model(
            input_ids=torch.tensor([one.encoded.input_ids]),
            output_hidden_states=True,
            use_cache=False,
        ).hidden_states
        assert len(hidden) == LAYERS + 1  # entry 0 are the embeddings, which no layer of ours is
        mine = found[one.problem]
        for layer in range(LAYERS - 1):
            torch.testing.assert_close(mine[layer], hidden[layer + 1][0], rtol=1e-5, atol=1e-5)
            assert not torch.allclose(mine[layer], hidden[layer][0], atol=0.1)
        # The last entry of transformers is shown after the final norm, ours before it.
        torch.testing.assert_close(
            source.model.norm(mine[LAYERS - 1]), hidden[LAYERS][0], rtol=1e-5, atol=1e-5
        )
        assert not torch.allclose(mine[LAYERS - 1], hidden[LAYERS][0], atol=0.1)


@torch.no_grad()
def test_the_last_layer_is_what_goes_into_the_final_norm() -> None:
    source, (one, *_) = bare_source("qwen2"), random_items((30,))
    seen: list[torch.Tensor] = []
    hook = source.model.norm.register_forward_pre_hook(
        lambda _module, inputs: seen.append(inputs[0])
    )
    source.model(input_ids=torch.tensor([one.encoded.input_ids]), use_cache=False)
    hook.remove()
    found = states_by_trace(source, [one], batch_tokens=100, layers=(LAYERS - 1,))
    torch.testing.assert_close(found[one.problem][LAYERS - 1], seen[0][0], rtol=1e-5, atol=1e-5)


def test_no_block_above_the_last_wanted_layer_runs_and_only_wanted_layers_are_kept() -> None:
    source, ran = bare_source("llama"), []
    for number, block in enumerate(source.model.layers):
        block.register_forward_hook(
            lambda _module, _inputs, _output, number=number: ran.append(number)
        )
    batches = list(
        stream_acts(source, random_items((9, 7)), (0, 2), dtype=torch.bfloat16, batch_tokens=100)
    )
    assert ran == [0, 1, 2]
    assert [sorted(batch.acts) for batch in batches] == [[0, 2]]
    assert batches[0].acts[2].dtype == torch.bfloat16 and batches[0].acts[2].shape == (16, WIDTH)


def test_a_layer_that_the_model_does_not_have_is_named() -> None:
    with pytest.raises(UnknownName, match="unknown layer '4'"):
        list(
            stream_acts(
                bare_source("qwen2"), random_items((3,)), (4,), dtype=torch.float32, batch_tokens=10
            )
        )


def test_rows_come_in_the_same_order_whatever_the_batches() -> None:
    source = bare_source("mistral")

    def order(batch_tokens: int) -> list[tuple[str, int]]:
        batches = stream_acts(
            source, random_items(LENGTHS), (1,), dtype=torch.float32, batch_tokens=batch_tokens
        )
        return [(row.problem, row.token) for batch in batches for row in as_rows(batch.rows)]

    # of like length: as they came
    longest_first = ["p/5", "p/8", "p/1", "p/6", "p/3", "p/4", "p/0", "p/2", "p/7"]
    assert list(dict.fromkeys(problem for problem, _ in order(90))) == longest_first
    assert order(1) == order(90) == order(10_000)


def test_a_batch_holds_the_padded_tokens_that_it_may_and_at_least_one_trace() -> None:
    group = random_items((80, 64, 41, 29, 17, 17, 5, 3, 2))
    batches = list(plan_batches(group, batch_tokens=90))
    assert [len(batch) for batch in batches] == [1, 1, 2, 5]  # 5 x 17 = 85
    assert [one for batch in batches for one in batch] == group


def test_a_group_fills_a_shard_or_the_greatest_batch() -> None:
    few_rows = [
        item(tuple(range(100)), (10, 99), (10, 99), problem=f"p/{number}") for number in range(300)
    ]
    # 326 rows in 16,300 tokens
    assert [len(group) for group in plan_groups(few_rows, rows=200)] == [163, 137]
    assert [len(group) for group in plan_groups(few_rows, rows=500)] == [250, 50]
    assert GROUP_TOKENS == 16_384


def test_only_a_window_of_traces_is_drawn_before_the_first_group() -> None:
    drawn = []

    def endless():
        while True:
            drawn.append(1)
            yield item(tuple(range(4096)), (4095,), (4095,))

    next(plan_groups(endless(), rows=10))
    assert len(drawn) * 4096 == WINDOW_TOKENS


def test_a_score_that_is_known_is_not_computed() -> None:
    source = bare_source("qwen2")
    known = [one._replace(scores=(0.25,)) for one in random_items((4, 6))]
    [captured] = capture_batches(source, [known], (0,), dtype=torch.float32)
    assert isinstance(captured, KeptStates) and captured.scores == [(0.25,), (0.25,)]
    [without] = capture_batches(source, [random_items((4,))], (0,), dtype=torch.float32)
    assert without.scores == [None]
