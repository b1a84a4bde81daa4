"""Make the three shipped models from scratch, each from fixed seeds."""

from pathlib import Path

import torch
from transformers import PreTrainedModel, PreTrainedTokenizerBase, Qwen2ForCausalLM

from rewardscope.models.load import load_causal_lm, load_tokenizer
from rewardscope.tiny.policy import tiny_config, train_policy
from rewardscope.tiny.tokenizer import build_tokenizer


def build_policy(
    out: Path, *, style: str, start: Path | None, steps: int, batch: int, lr: float, seed: int
) -> float:
    """Train a policy from random weights, or from the policy at `start`; save it; return its last
    training loss.
    """
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


def build_prm(
    out: Path,
    *,
    start: Path,
    layers: int,
    samples: int,
    expect_steps: int,
    steps: int,
    batch: int,
    expect_lr: float,
    lr: float,
    seed: int,
) -> float:
    """Train the PRM from the policy at `start` and on its samples; return its last training loss.

    Its first blocks are the policy's, taught what to expect; the further ones compare with what
    came. Saved in bfloat16, as the published PRMs are.
    """
    from rewardscope.engines.hf import HfEngine
    from rewardscope.prms.qwen import QwenPrm
    from rewardscope.tiny.judged import sampled
    from rewardscope.tiny.prm import learn_to_expect, learn_to_judge

    engine = HfEngine(str(start), device="cpu")
    solutions = sampled(engine, samples, temperature=1.0, seed=seed)
    torch.manual_seed(seed)
    policy = load_causal_lm(str(start), device=torch.device("cpu"), dtype=torch.float32)
    assert isinstance(policy, Qwen2ForCausalLM), type(policy)
    learn_to_expect(
        policy, engine.tokenizer, steps=expect_steps, batch=batch, lr=expect_lr, seed=seed
    )
    model = QwenPrm(tiny_config(engine.tokenizer, layers=layers))
    absent = model.model.load_state_dict(policy.model.state_dict(), strict=False)
    assert not absent.unexpected_keys, absent
    known = policy.config.num_hidden_layers
    loss = learn_to_judge(
        model,
        engine.tokenizer,
        sampled=solutions,
        known=known,
        steps=steps,
        batch=batch,
        lr=lr,
        seed=seed,
    )
    _save(model.bfloat16(), engine.tokenizer, out)
    return loss


def _save(model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, out: Path) -> None:
    model.save_pretrained(out)
    tokenizer.save_pretrained(out)
