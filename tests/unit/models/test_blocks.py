"""Where the parts of a model are, and what is captured from them, checked against transformers' own
outputs.
"""

import pytest
import torch
from torch import nn
from transformers import (
    BertConfig,
    BloomConfig,
    BloomForCausalLM,
    LlamaConfig,
    LlamaForCausalLM,
    MistralConfig,
    MistralForCausalLM,
    ModernBertDecoderConfig,
    PreTrainedModel,
    Qwen2Config,
    Qwen2ForCausalLM,
    Qwen2ForTokenClassification,
    Qwen2Model,
    T5Config,
)
from transformers.models.gemma2.modeling_gemma2 import Gemma2RMSNorm

from rewardscope.errors import BadRecord, ConfigError, UnknownName
from rewardscope.models.blocks import check_family, find_blocks, read_norm
from rewardscope.models.forward import run
from rewardscope.models.sites import Site, residual
from rewardscope.models.sublayers import prove_decoder

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
    state = run(model, ids, watch=[Site(2)]).states[Site(2)]
    assert parts.head is not None
    with torch.no_grad():
        logits = parts.head(parts.norm(state))
        assert torch.allclose(logits, model(input_ids=ids).logits, atol=1e-6)
    assert len(parts.layers) == 3


@pytest.mark.parametrize("model", _models(), ids=lambda model: type(model).__name__)
def test_captured_states_are_transformers_hidden_states(model: PreTrainedModel) -> None:
    ids = torch.arange(3, 20).repeat(2, 1)
    states = run(model, ids, watch=residual([0, 1])).states
    with torch.no_grad():
        # entry 0 is the embedding
        expected = model(input_ids=ids, output_hidden_states=True).hidden_states
    assert torch.equal(states[Site(0)], expected[1])
    assert torch.equal(states[Site(1)], expected[2])


def test_only_wanted_sites_are_kept_and_hooks_end_with_the_pass() -> None:
    model = _models()[0]
    states = run(model, torch.tensor([[3, 4]]), watch=[Site(1)]).states
    assert set(states) == {Site(1)}
    before = states[Site(1)]
    with torch.no_grad():
        model(input_ids=torch.tensor([[5, 6, 7]]))
    assert states[Site(1)] is before


def test_hooks_are_removed_when_the_forward_pass_fails() -> None:
    model = _models()[0]
    with pytest.raises(IndexError):
        run(model, torch.tensor([[99]]), watch=residual([0, 1]))
    assert not any(layer._forward_hooks for layer in model.model.layers)


@pytest.mark.parametrize("layer", [-1, 3])
def test_a_layer_that_the_model_lacks_is_an_error(layer: int) -> None:
    with pytest.raises(UnknownName, match=f"unknown layer '{layer}'.*known: 0, 1, 2"):
        run(_models()[0], torch.tensor([[3]]), watch=[Site(layer)])


def test_a_head_that_a_layer_lacks_is_an_error_and_only_heads_have_a_number() -> None:
    with pytest.raises(UnknownName, match=r"head of layer 1 '4'.*known: 0, 1, 2, 3"):
        run(_models()[0], torch.tensor([[3]]), watch=[Site(1, "head", 4)])
    with pytest.raises(ConfigError, match="site attn of layer 1: head is 0"):
        Site(1, "attn", 0)


def test_the_head_of_a_classifier_is_its_score_and_a_bare_decoder_has_none() -> None:
    config = Qwen2Config(**SIZE)
    classifier, bare = Qwen2ForTokenClassification(config), Qwen2Model(config)
    assert find_blocks(classifier).head is classifier.score
    assert find_blocks(bare).head is None and find_blocks(bare).decoder is bare


def test_a_block_whose_parts_do_not_sum_is_refused_by_name_but_its_states_are_served() -> None:
    # BLOOM's attention and MLP take the residual stream in and give it back with theirs added
    config = BloomConfig(vocab_size=40, hidden_size=16, n_layer=2, n_head=2)
    model = BloomForCausalLM(config).eval()
    prove_decoder(model)
    assert run(model, torch.tensor([[3, 4]]), watch=[Site(1)]).states[Site(1)].shape == (1, 2, 16)
    with pytest.raises(BadRecord, match="layer 0 of BloomForCausalLM cannot be told apart"):
        run(model, torch.tensor([[3, 4]]), watch=[Site(1, "attn")])


def test_a_model_that_reads_both_ways_is_refused_before_and_after_it_is_loaded() -> None:
    small = {name: size for name, size in SIZE.items() if name != "num_key_value_heads"}
    with pytest.raises(BadRecord, match="model family 'bert' is not one of decoders"):
        check_family(BertConfig(**small))
    with pytest.raises(BadRecord, match="model family 't5'"):
        check_family(T5Config())
    config = ModernBertDecoderConfig(**small, global_attn_every_n_layers=1)
    check_family(config)
    check_family(BertConfig(**small, is_decoder=True))
    model = LlamaForCausalLM(LlamaConfig(**SIZE, attn_implementation="eager")).eval()
    for layer in model.model.layers:
        layer.self_attn.register_forward_pre_hook(_unmasked, with_kwargs=True)
    with pytest.raises(BadRecord, match="its states depend on later tokens"):
        prove_decoder(model)


def _unmasked(_module: object, given: tuple, named: dict) -> tuple:
    return given, {**named, "attention_mask": torch.zeros(1, 1, 1, 1)}


def test_a_model_that_changes_states_between_blocks_is_refused() -> None:
    model = _models()[1]
    model.model.layers[1].register_forward_pre_hook(
        lambda _module, given: (given[0] * 2, *given[1:])
    )
    with pytest.raises(BadRecord, match="between block 0 and the next part, states change"):
        prove_decoder(model)


@torch.no_grad()
@pytest.mark.parametrize("centred", [False, True])
def test_gain_and_bias_of_a_norm_are_read_off_it(centred: bool) -> None:
    generator = torch.Generator().manual_seed(0)
    gain, bias = torch.randn(2, 16, generator=generator)
    if centred:
        norm = nn.LayerNorm(16)
        norm.weight.copy_(gain)
        norm.bias.copy_(bias)
    else:
        norm = Gemma2RMSNorm(16)  # its gain is 1 + w
        norm.weight.copy_(gain - 1)
        bias = torch.zeros(16)
    found = read_norm(norm, 16)
    torch.testing.assert_close(found.gain_D, gain)
    torch.testing.assert_close(found.bias_D, bias)
    assert found.centred is centred
