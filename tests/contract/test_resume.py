"""Going on from changed states gives what a whole pass with the same edit gives, in every family
of decoders that keeps plain keys and values.
"""

from pathlib import Path

import pytest
import torch
from transformers import AutoModelForCausalLM

from rewardscope.models.forward import run
from rewardscope.models.resume import begin, go_on, resumes
from rewardscope.models.sites import Edit, Site
from tests.contract.tiny_decoders import FAMILIES, N_LAYERS, make_decoder

N_TOKENS, START = 20, 7
# windows that slide, and states of linear attention, cannot be cut at any token
SPECIAL = {
    "gemma2",
    "gemma3",
    "gemma3_text",
    "gpt_oss",
    "mistral",
    "olmo3",
    "qwen3_5",
    "qwen3_next",
}


@pytest.mark.parametrize("family", FAMILIES)
def test_changed_states_go_on_as_in_a_whole_pass(family: str, tmp_path: Path) -> None:
    model = AutoModelForCausalLM.from_pretrained(
        make_decoder(family, tmp_path), dtype=torch.float32
    ).eval()
    assert resumes(model) == (family not in SPECIAL)
    if family in SPECIAL:
        return
    ids_1T = torch.randint(3, 250, (1, N_TOKENS), generator=torch.Generator().manual_seed(1))
    last = Site(N_LAYERS - 1)
    for layer in range(N_LAYERS):
        begun = begin(model, ids_1T, layer)
        # what a row changes is another token of it
        shifts = {START: 0.5, START + 3: -2.0, N_TOKENS - 1: 1.0}
        states = [begun.states_TD[START:].clone() for _ in shifts]
        expected = []
        for state_ND, (at, shift) in zip(states, shifts.items(), strict=True):
            state_ND[at - START] += shift
            mask_1T = torch.zeros(1, N_TOKENS, dtype=torch.bool)
            mask_1T[0, at] = True
            edit = Edit(Site(layer), mask_1T, lambda x_ND, s=shift: x_ND + s)
            with torch.no_grad():
                whole = run(model, ids_1T, watch=[last], edits=[edit]).states[last]
            expected.append(whole[0, START:])
        found = go_on(model, begun, torch.stack(states), start=START, pick=torch.clone)
        wanted = torch.stack(expected)
        assert float((found - wanted).abs().max() / wanted.abs().max()) < 1e-5
    plain = run(model, ids_1T, watch=[last]).states[last][0]
    assert torch.equal(plain, run(model, ids_1T, watch=[last]).states[last][0])
    assert not any("forward" in vars(block) for block in model.modules())
