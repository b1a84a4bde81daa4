r"""The Qwen2.5-Math-PRM family: transformers' own Qwen2 decoder with a two-layer head, read at `<extra_0>` after each step.

The published code is not run: under transformers 5 it computes with zeroed rotary frequencies and gives every step the same
score. Weights are loaded by name, and a loaded model must prove that its frequencies and its scores are sound.
"""

from collections.abc import Sequence
from functools import cache
from typing import Any

import torch
from torch import Tensor, nn
from transformers import PreTrainedModel, PreTrainedTokenizerBase, Qwen2Config, Qwen2Model, Qwen2PreTrainedModel

from rewardscope.errors import BadRecord, MissingInput
from rewardscope.records import Encoded

# Shape legend: B batch, T tokens, N positions that are read, D width.
STEP_TAG = "<extra_0>"
SYSTEM = r"Please reason step by step, and put your final answer within \boxed{}."
_PROBE_TOKENS = 16  # length of the two inputs that must score differently


class Qwen2ForProcessRewardModel(Qwen2PreTrainedModel):
    """The published architecture; its name and its state-dict keys (`model.*`, `score.0.*`, `score.2.*`) are the published ones."""

    _keys_to_ignore_on_load_unexpected = [r"^lm_head\."]  # noqa: RUF012 - the base class declares it so; a PRM has no use for them

    def __init__(self, config: Qwen2Config) -> None:
        super().__init__(config)
        width = config.hidden_size
        self.model = Qwen2Model(config)
        self.score = nn.Sequential(nn.Linear(width, width), nn.ReLU(), nn.Linear(width, 2))
        self.post_init()

    def forward(self, input_ids: Tensor, row_N: Tensor, column_N: Tensor) -> Tensor:
        """Return the logits [N, 2] (wrong, right) at the positions (row, column) of right-padded ids [B, T]."""
        states_BTD = self.model(input_ids=input_ids, use_cache=False).last_hidden_state
        return self.score(states_BTD[row_N, column_N])


QwenPrm = Qwen2ForProcessRewardModel


class QwenAdapter:
    """What the project knows about the family: names, prompt form, read-out."""

    family = "qwen"
    names: tuple[str, ...] = ("Qwen/Qwen2.5-Math-PRM-7B", "Qwen/Qwen2.5-Math-PRM-72B", "Qwen/Qwen2.5-Math-7B-PRM800K")
    architectures: tuple[str, ...] = ("Qwen2ForProcessRewardModel",)

    def serves(self, name: str, architectures: Sequence[str]) -> bool:
        """Say whether the model is of this family."""
        return name in self.names or not set(self.architectures).isdisjoint(architectures)

    def load(self, name: str, *, device: torch.device, dtype: torch.dtype) -> PreTrainedModel:
        """Load and check a model, its head in float32.

        Raises: MissingInput where there are no weights; BadRecord where they do not fit, or where what they compute is unsound.
        """
        try:
            model, info = _from_pretrained(name, dtype=dtype)
        except OSError as error:
            raise MissingInput(f"PRM {name} cannot be loaded: {str(error).splitlines()[0]}") from None
        _check_keys(name, info)
        model.to(device).eval()
        model.score.float()
        check_rotary(name, model)
        check_scores_differ(name, model)
        return model

    def encode(self, tokenizer: PreTrainedTokenizerBase, question: str, steps: Sequence[str]) -> Encoded:
        """Encode one solution; each step ends at its `<extra_0>`. Raises: BadRecord that says which step is wrong."""
        if not steps:
            raise BadRecord("a solution without steps has nothing to score")
        _check_text("the question", question, _markers(tokenizer))
        for number, step in enumerate(steps, start=1):
            _check_text(f"step {number} of {len(steps)}", step, _markers(tokenizer))
        solution = STEP_TAG.join([*steps, ""])
        messages = [_message("system", SYSTEM), _message("user", question), _message("assistant", solution)]
        prompt = tokenizer.apply_chat_template(messages, tokenize=False)
        assert isinstance(prompt, str), type(prompt)
        ids: list[int] = tokenizer(prompt, add_special_tokens=False)["input_ids"]
        tag = step_tag_id(tokenizer)
        ends = tuple(position for position, token in enumerate(ids) if token == tag)
        assert len(ends) == len(steps), (len(ends), len(steps))
        return Encoded(input_ids=tuple(ids), step_ends=ends)

    def read_out(self, model: PreTrainedModel, states_ND: Tensor) -> Tensor:
        """Return the scores [N], float32 in 0 to 1, of states after the last block: final norm, head, softmax, class `right`."""
        assert isinstance(model, QwenPrm), type(model)
        normed_ND = model.model.norm(states_ND)
        return model.score(normed_ND.to(model.score[0].weight.dtype)).float().softmax(dim=-1)[:, 1]

    def direction(self, model: PreTrainedModel) -> Tensor | None:
        """Return None: the head is an MLP, so its reward direction depends on the state."""
        return None


@cache
def step_tag_id(tokenizer: PreTrainedTokenizerBase) -> int:
    """Return the id of `<extra_0>`. Raises: BadRecord where it is not one token of the tokenizer."""
    token = tokenizer.convert_tokens_to_ids(STEP_TAG)
    if not isinstance(token, int) or tokenizer.convert_ids_to_tokens(token) != STEP_TAG:
        raise BadRecord(f"the tokenizer of {tokenizer.name_or_path} has no token {STEP_TAG}, so it is not of a Qwen2.5-Math-PRM")
    return token


@cache
def _markers(tokenizer: PreTrainedTokenizerBase) -> tuple[str, ...]:
    """Return the texts that no question or step may contain: they would be read as a part of the prompt's form."""
    special = {token.content for token in tokenizer.added_tokens_decoder.values() if token.special}
    return tuple(sorted({STEP_TAG, *special}))


def _check_text(place: str, text: str, markers: Sequence[str]) -> None:
    if not text.strip():
        raise BadRecord(f"{place} is blank")
    found = next((marker for marker in markers if marker in text), None)
    if found is not None:
        raise BadRecord(f"{place} contains {found!r}, a marker of the PRM's prompt")


def _message(role: str, content: str) -> dict[str, str]:
    return {"role": role, "content": content}


def _from_pretrained(name: str, *, dtype: torch.dtype) -> Any:
    """Return the model and what transformers says about its keys; keys that do not fit are reported, not raised."""
    return QwenPrm.from_pretrained(name, dtype=dtype, use_safetensors=True, ignore_mismatched_sizes=True, output_loading_info=True)


def _check_keys(name: str, info: dict[str, Any]) -> None:
    wrong = {
        "missing": sorted(info["missing_keys"]),
        "unexpected": sorted(info["unexpected_keys"]),
        "of another shape": sorted(key for key, *_ in info["mismatched_keys"]),
    }
    listed = "; ".join(f"{what}: {', '.join(keys[:4])}{' ...' if len(keys) > 4 else ''}" for what, keys in wrong.items() if keys)
    if listed:
        raise BadRecord(f"the weights of PRM {name} do not fit Qwen2ForProcessRewardModel ({listed})")


def check_rotary(name: str, model: QwenPrm) -> None:
    """Compare the rotary frequencies with theta^(-2i / head width). Raises: BadRecord where they differ."""
    rope: Any = model.config.rope_parameters
    if rope["rope_type"] != "default":
        return
    attention: Any = model.model.layers[0].self_attn
    exponents = torch.arange(0, attention.head_dim, 2, dtype=torch.float64) / attention.head_dim
    inv_freq = model.model.rotary_emb.inv_freq.double().cpu()
    if not torch.allclose(inv_freq, rope["rope_theta"] ** -exponents, rtol=1e-5, atol=0.0):
        raise BadRecord(f"PRM {name}: rotary frequencies are {inv_freq[:3].tolist()} ..., not those of theta {rope['rope_theta']}")


@torch.no_grad()
def check_scores_differ(name: str, model: QwenPrm) -> None:
    """Score two different inputs. Raises: BadRecord where both get the same logits, or any is not finite."""
    last = model.config.vocab_size // 2
    ids_BT = torch.arange(2 * _PROBE_TOKENS, device=model.device).remainder(last).view(2, _PROBE_TOKENS)
    ends = torch.full((2,), _PROBE_TOKENS - 1, device=model.device)
    states_BD = model.model(input_ids=ids_BT, use_cache=False).last_hidden_state[torch.arange(2), ends]
    logits = model.score(states_BD.to(model.score[0].weight.dtype))
    if not torch.isfinite(logits).all() or torch.allclose(logits[0], logits[1], rtol=0.0, atol=1e-6):
        raise BadRecord(f"PRM {name} gives two different inputs the same scores, {logits.tolist()}: it is not loaded soundly")
