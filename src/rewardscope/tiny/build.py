"""Make the three shipped models from scratch, each from fixed seeds."""

from pathlib import Path

import torch
from transformers import PreTrainedModel, PreTrainedTokenizerBase, Qwen2ForCausalLM

from rewardscope.models.load import load_causal_lm, load_tokenizer
from rewardscope.tiny.policy import tiny_config, train_policy
from rewardscope.tiny.tokenizer import build_tokenizer


def build_policy(out: Path, *, style: str, start: Path | None, steps: int, batch: int, lr: float, seed: int) -> float:
    """Train a policy from random weights, or from the policy at `start`; save it; return its last training loss."""
    torch.manual_seed(seed)
    if start is None:
        tokenizer = build_tokenizer(seed=seed)
        model = Qwen2ForCausalLM(tiny_config(tokenizer))
    else:
        tokenizer = load_tokenizer(str(start))
        model = load_causal_lm(str(start), device=torch.device("cpu"), dtype=torch.float32)
    assert isinstance(model, Qwen2ForCausalLM), type(model)
    loss = train_policy(model, tokenizer, style=style, steps=steps, batch=batch, lr=lr, seed=seed)
    _save(model, tokenizer, out)
    return loss


def build_prm(out: Path, *, start: Path, layers: int, drills: int, steps: int, batch: int, lr: float, samples: int, seed: int) -> float:
    """Train the PRM on samples of the policy at `start`; return its last training loss.

    Its first blocks start as the policy's. The further ones start at random: a block that compares a token with what the
    policy's last block expected there can only come after it. Saved in bfloat16, as the published PRMs are.
    """
    from rewardscope.engines.hf import HfEngine
    from rewardscope.prms.qwen import QwenPrm
    from rewardscope.tiny.prm import sampled_examples, train_prm

    engine = HfEngine(str(start), device="cpu")
    tokenizer = engine.tokenizer
    sampled = sampled_examples(engine, samples, temperature=1.0, seed=seed)
    torch.manual_seed(seed)
    model = QwenPrm(tiny_config(tokenizer, layers=layers))
    policy = load_causal_lm(str(start), device=torch.device("cpu"), dtype=torch.float32)
    assert isinstance(policy, Qwen2ForCausalLM), type(policy)
    absent = model.model.load_state_dict(policy.model.state_dict(), strict=False)
    assert not absent.unexpected_keys, absent
    loss = train_prm(
        model,
        tokenizer,
        sampled=sampled,
        expecting=policy.config.num_hidden_layers,
        drills=drills,
        steps=steps,
        batch=batch,
        lr=lr,
        seed=seed,
    )
    _save(model.bfloat16(), tokenizer, out)
    return loss


def _save(model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, out: Path) -> None:
    model.save_pretrained(out)
    tokenizer.save_pretrained(out)
