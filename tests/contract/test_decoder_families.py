"""What every family of decoders must keep: parts that sum to states, states that are those of
transformers, and the way from problems to saved states.

`pytest -s` prints the largest deviations, the table of docs/results.md.
"""

from pathlib import Path
from typing import Any, NamedTuple

import pytest
import torch
from torch import Tensor, nn
from transformers import AutoModelForCausalLM, AutoTokenizer, PreTrainedModel

from rewardscope.capturing.policy import PolicyEncoder
from rewardscope.engines.hf import HfEngine
from rewardscope.models.blocks import check_family, find_blocks
from rewardscope.models.cache import keeps_prefixes
from rewardscope.models.forward import run
from rewardscope.models.sites import EMBED, Site, residual
from rewardscope.models.sublayers import find_sublayers, prove_decoder
from rewardscope.settings import Settings
from rewardscope.stages import infer, save_acts
from rewardscope.storage.acts import ActStore
from rewardscope.storage.jsonl import read_solved
from tests.act_files import read_act_rows
from tests.contract.tiny_decoders import FAMILIES, N_LAYERS, WINDOW, make_decoder

LENGTHS = (33, 9, 20)
PARTS = [Site(layer, part) for layer in range(N_LAYERS) for part in ("attn", "mlp")]
LINEAR = ("qwen3_next", "qwen3_5")


class Decoder(NamedTuple):
    family: str
    folder: Path
    model: PreTrainedModel


@pytest.fixture(scope="module", params=FAMILIES)
def decoder(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Decoder:
    folder = make_decoder(request.param, tmp_path_factory.mktemp("decoders"))
    model = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32).eval()
    check_family(model.config)
    prove_decoder(model)
    return Decoder(request.param, folder, model)


def batch_of(lengths: tuple[int, ...]) -> Tensor:
    rng = torch.Generator().manual_seed(1)
    ids_BT = torch.randint(3, 250, (len(lengths), max(lengths)), generator=rng)
    for row, length in enumerate(lengths):
        ids_BT[row, length:] = 0
    return ids_BT


def apart(one: Tensor, other: Tensor) -> float:
    """Return the largest difference, as a share of the largest value."""
    return float((one - other).abs().max() / other.abs().max())


def test_embedding_and_all_parts_sum_to_the_state_before_the_final_norm(decoder: Decoder) -> None:
    seen: list[Tensor] = []
    hook = find_blocks(decoder.model).norm.register_forward_pre_hook(
        lambda _module, given: seen.append(given[0])
    )
    ids_BT = batch_of(LENGTHS)
    states = run(decoder.model, ids_BT, watch=[EMBED, *PARTS]).states
    with torch.no_grad():
        decoder.model(input_ids=ids_BT, use_cache=False)
    hook.remove()
    gap = apart(sum(states.values(), torch.zeros(())), seen[-1])
    print(f"\n{decoder.family}: parts summed {gap:.1e}")
    assert gap < 1e-6
    # each part is there: without it the sum is another one
    assert min(float(states[site].abs().max()) for site in PARTS) > 1e-3


def test_captured_states_are_the_hidden_states_of_transformers(decoder: Decoder) -> None:
    ids_BT = batch_of(LENGTHS)
    states = run(decoder.model, ids_BT, watch=[EMBED, *residual(range(N_LAYERS))]).states
    with torch.no_grad():
        hidden = decoder.model(
            input_ids=ids_BT, output_hidden_states=True, use_cache=False
        ).hidden_states
        last = find_blocks(decoder.model).norm(states[Site(N_LAYERS - 1)])
    ours = [states[EMBED], *(states[Site(layer)] for layer in range(N_LAYERS - 1)), last]
    gap = max(apart(one, other) for one, other in zip(ours, hidden, strict=True))
    print(f"\n{decoder.family}: capture {gap:.1e}")
    assert gap == 0.0


def test_heads_through_the_output_projection_give_what_attention_adds(decoder: Decoder) -> None:
    for layer, sublayers in enumerate(find_sublayers(decoder.model)):
        assert sublayers.n_heads == 4
        heads = [Site(layer, "head", head) for head in range(sublayers.n_heads)]
        states = run(decoder.model, batch_of(LENGTHS), watch=[*heads, Site(layer, "attn")]).states
        with torch.no_grad():
            out: Tensor = sublayers.out_proj(torch.cat([states[head] for head in heads], dim=-1))
            behind: nn.Module = sublayers.attn.module
            if "norm" in type(behind).__name__.lower():
                out = behind(out)
        assert apart(sublayers.attn.scale * out, states[Site(layer, "attn")]) < 1e-6


def test_a_row_is_the_same_alone_in_a_batch_and_on_a_shared_beginning(decoder: Decoder) -> None:
    sites = [
        EMBED,
        *(Site(at, part) for at in range(N_LAYERS) for part in ("attn", "mlp", "resid")),
    ]
    ids_BT = batch_of(LENGTHS)
    ids_BT[1:, : WINDOW + 1] = ids_BT[:1, : WINDOW + 1]
    together = run(decoder.model, ids_BT, watch=sites).states
    shared = run(decoder.model, ids_BT, watch=sites, shared=WINDOW).states
    assert keeps_prefixes(decoder.model) is (decoder.family not in LINEAR)
    for row, length in enumerate(LENGTHS):
        alone = run(decoder.model, ids_BT[row : row + 1, :length], watch=sites).states
        for site in sites:
            for states in (together, shared):
                assert apart(states[site][row, :length], alone[site][0]) < 2e-5, site


def test_greedy_text_is_that_of_transformers_whatever_the_cache(decoder: Decoder) -> None:
    prompts = [
        ids[:length].tolist() for ids, length in zip(batch_of(LENGTHS), LENGTHS, strict=True)
    ]
    engine = HfEngine(str(decoder.folder), device="cpu")
    n_new = 2 * WINDOW
    options: dict[str, Any] = {"stop": (), "temperature": 0, "top_p": 1.0, "max_tokens": n_new}
    for reuse in (False, True, True):
        found = engine.generate(prompts, n=1, seeds=[0, 1, 2], reuse=reuse, **options)
        for prompt, (completion,) in zip(prompts, found, strict=True):
            expected = decoder.model.generate(
                torch.tensor([prompt]),
                attention_mask=torch.ones(1, len(prompt), dtype=torch.long),
                do_sample=False,
                max_new_tokens=n_new,
            )[0, len(prompt) :].tolist()
            ends = {engine.tokenizer.eos_token_id, engine.tokenizer.pad_token_id}
            assert list(completion.token_ids) == [token for token in expected if token not in ends]


def test_problems_become_saved_states(decoder: Decoder, tmp_path: Path) -> None:
    settings, name = Settings(data_dir=tmp_path), str(decoder.folder)
    (generated,) = infer.run(
        infer.Config(
            model_name=name, datasets=("tinymath",), limit=2, n=2, max_tokens=12, engine="hf"
        ),
        settings,
    )
    out = save_acts.run(
        save_acts.Config(
            ds_name=str(generated), mode="lm", model_name=name, positions="last", device="cpu"
        ),
        settings,
    )
    store = ActStore(out)
    acts_ND, rows = store.layer(N_LAYERS - 2), read_act_rows(store)
    encoder = PolicyEncoder(AutoTokenizer.from_pretrained(name), max_positions=512)
    inputs = {
        (one.problem.id, trace.index): encoder.encode(one.problem.question, trace).input_ids
        for one in read_solved(generated)
        for trace in one.traces
        if trace.steps
    }
    assert len(rows) == len(inputs) > 0 and acts_ND.shape == (len(inputs), 32)
    for row, state_D in zip(rows, acts_ND, strict=True):
        ids_1T = torch.tensor([inputs[row.problem, row.trace]])
        with torch.no_grad():
            hidden = decoder.model(input_ids=ids_1T, output_hidden_states=True).hidden_states
        torch.testing.assert_close(
            torch.as_tensor(state_D), hidden[N_LAYERS - 1][0, row.token], rtol=1e-4, atol=1e-4
        )
