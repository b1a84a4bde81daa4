"""Where the parts of a model are, and what is captured from them, checked against transformers' own
outputs.
"""

import pytest
import torch
from transformers import (
    GPT2Config,
    GPT2LMHeadModel,
    LlamaConfig,
    LlamaForCausalLM,
    MistralConfig,
    MistralForCausalLM,
    PreTrainedModel,
    Qwen2Config,
    Qwen2ForCausalLM,
    Qwen2ForTokenClassification,
    Qwen2Model,
)

from rewardscope.errors import UnknownName
from rewardscope.models.blocks import find_blocks
from rewardscope.models.hooks import capture

SIZE = {
    "vocab_size": 40,
    "hidden_size": 16,
    "intermediate_size": 24,
    "num_hidden_layers": 3,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "max_position_embeddings": 64,
    "pad_token_id": 0,
    "bos_token_id": 1,
    "eos_token_id": 2,
}


def _models() -> list[PreTrainedModel]:
    torch.manual_seed(0)
    return [
        Qwen2ForCausalLM(Qwen2Config(**SIZE)).eval(),
        LlamaForCausalLM(LlamaConfig(**SIZE)).eval(),
        MistralForCausalLM(MistralConfig(**SIZE)).eval(),
    ]


@pytest.mark.parametrize("model", _models(), ids=lambda model: type(model).__name__)
def test_the_parts_compose_to_the_model(model: PreTrainedModel) -> None:
    parts = find_blocks(model)
    ids = torch.arange(3, 20)[None]
    with torch.no_grad(), capture(model, [2]) as states:
        parts.decoder(input_ids=ids)
        logits = parts.head(parts.norm(states[2]))
        assert torch.allclose(logits, model(input_ids=ids).logits, atol=1e-6)
    assert len(parts.layers) == 3


@pytest.mark.parametrize("model", _models(), ids=lambda model: type(model).__name__)
def test_captured_states_are_transformers_hidden_states(model: PreTrainedModel) -> None:
    ids = torch.arange(3, 20).repeat(2, 1)
    with torch.no_grad(), capture(model, [0, 1]) as states:
        # entry 0 is the embedding
        expected = model(input_ids=ids, output_hidden_states=True).hidden_states
    assert torch.equal(states[0], expected[1]) and torch.equal(states[1], expected[2])


def test_only_wanted_layers_are_kept_and_hooks_end_with_the_context() -> None:
    model = _models()[0]
    with torch.no_grad(), capture(model, [1]) as states:
        model(input_ids=torch.tensor([[3, 4]]))
    assert set(states) == {1}
    before = states[1]
    with torch.no_grad():
        model(input_ids=torch.tensor([[5, 6, 7]]))
    assert states[1] is before


def test_hooks_are_removed_when_the_forward_pass_fails() -> None:
    model = _models()[0]
    with pytest.raises(IndexError), capture(model, [0, 1]):
        model(input_ids=torch.tensor([[99]]))
    assert not any(layer._forward_hooks for layer in model.model.layers)


@pytest.mark.parametrize("layer", [-1, 3])
def test_a_layer_that_the_model_lacks_is_an_error(layer: int) -> None:
    with (
        pytest.raises(UnknownName, match=f"unknown layer '{layer}'.*known: 0, 1, 2"),
        capture(_models()[0], [layer]),
    ):
        pass


def test_the_head_of_a_classifier_is_its_score_and_a_bare_decoder_has_none() -> None:
    config = Qwen2Config(**SIZE)
    classifier, bare = Qwen2ForTokenClassification(config), Qwen2Model(config)
    assert find_blocks(classifier).head is classifier.score
    assert find_blocks(bare).head is None and find_blocks(bare).decoder is bare


def test_another_family_is_refused_by_name() -> None:
    model = GPT2LMHeadModel(GPT2Config(n_embd=8, n_layer=1, n_head=2, vocab_size=10, n_positions=8))
    with pytest.raises(UnknownName, match="GPT2Model"):
        find_blocks(model)
