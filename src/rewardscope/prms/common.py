"""What the families share: refusing texts that the prompt cannot hold, checked loading, and reading
a linear head.
"""

from bisect import bisect_left
from collections.abc import Iterator, Sequence
from functools import cache
from typing import Any, NoReturn

import torch
from torch import Tensor, nn
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from rewardscope.errors import BadRecord
from rewardscope.models.blocks import find_blocks, read_norm, shape_of
from rewardscope.models.load import load_checked
from rewardscope.models.sublayers import prove_decoder
from rewardscope.records import Encoded

# Shape legend: B batch, T tokens, N positions that are read, D width, K outputs of a head.
_PROBE_TOKENS = 16  # length of the two inputs that must score differently
# what the chat form of Llama 3.1 shows where nobody says; later forms show today, and scores would
# drift
_DATE = "26 Jul 2024"


def check_texts(
    tokenizer: PreTrainedTokenizerBase,
    question: str,
    steps: Sequence[str],
    *,
    marker: str | None = None,
) -> None:
    """Refuse what a prompt cannot hold: a special token or the family's own marker would be read as
    a part of the prompt's form.

    Raises: BadRecord for no step, for a blank text, and for a text that holds a marker; it says
    which one.
    """
    if not steps:
        raise BadRecord("a solution without steps has nothing to score")
    markers = {marker, *_special_tokens(tokenizer)} - {None, ""}
    for place, text in named_texts(question, steps):
        if not text.strip():
            raise BadRecord(f"{place} is blank")
        found = next((known for known in sorted(markers, key=str) if known in text), None)
        if found is not None:
            refuse_marker(place, found)


def named_texts(question: str, steps: Sequence[str]) -> Iterator[tuple[str, str]]:
    """Yield the question and each step with what an error calls it."""
    yield "the question", question
    for number, step in enumerate(steps, start=1):
        yield f"step {number} of {len(steps)}", step


def refuse_marker(place: str, marker: str) -> NoReturn:
    """Raise the BadRecord for a text that holds a marker."""
    raise BadRecord(f"{place} contains {marker!r}, a marker of the PRM's prompt")


@cache
def _special_tokens(tokenizer: PreTrainedTokenizerBase) -> frozenset[str]:
    return frozenset(
        token.content for token in tokenizer.added_tokens_decoder.values() if token.special
    )


def token_ids(tokenizer: PreTrainedTokenizerBase, text: str) -> list[int]:
    """Return the tokens of `text` alone: nothing is added before or after."""
    return tokenizer.encode(text, add_special_tokens=False)


def begin_id(tokenizer: PreTrainedTokenizerBase) -> list[int]:
    """Return the beginning-of-text token, or nothing where the tokenizer has none."""
    begin: Any = tokenizer.bos_token_id
    return [] if begin is None else [begin]


def chat_text(
    tokenizer: PreTrainedTokenizerBase, turns: Sequence[tuple[str, str]], **options: Any
) -> str:
    """Write (role, content) turns in the tokenizer's own chat form, whose date is fixed.

    Raises: BadRecord where it has none, or one that fails or leaves out a turn.
    """
    if tokenizer.chat_template is None:
        raise BadRecord(
            f"the tokenizer of {tokenizer.name_or_path} has no chat template, and this PRM family"
            " needs one"
        )
    messages = [{"role": role, "content": content} for role, content in turns]
    source = f"the chat template of {tokenizer.name_or_path}"
    try:
        text = tokenizer.apply_chat_template(messages, tokenize=False, date_string=_DATE, **options)
    except Exception as error:  # a template is a program of someone else's
        reason = " ".join(str(error).split()) or type(error).__name__
        raise BadRecord(f"{source} cannot be rendered: {reason}") from None
    assert isinstance(text, str), type(text)
    for role, content in turns:
        if content.strip() not in text:
            shown = content.strip()[:40]
            raise BadRecord(f"{source} leaves out or changes the {role}'s text {shown!r}")
    return text


def finish_loading(
    name: str, model: PreTrainedModel, head: nn.Module, *, device: torch.device
) -> None:
    """Move a loaded model to its device with its head in float32, and let it prove that what it
    computes is sound.

    Raises: BadRecord.
    """
    # the stubs of transformers lose the type of `to`
    model.to(device)  # pyright: ignore[reportArgumentType]
    head.float()
    check_rotary(name, model)
    prove_decoder(model)
    check_scores_differ(name, model, head)


def check_rotary(name: str, model: PreTrainedModel) -> None:
    """Compare the rotary frequencies with theta^(-2i / width), where a model has one set of them.

    Raises: BadRecord where they differ.
    """
    rope: Any = getattr(model.config.get_text_config(), "rope_parameters", None)
    rotary = getattr(find_blocks(model).decoder, "rotary_emb", None)
    if rope is None or rotary is None or rope.get("rope_type") != "default":
        return
    inv_freq = rotary.inv_freq.double().cpu()
    exponents = torch.arange(len(inv_freq), dtype=torch.float64) / len(inv_freq)
    if not torch.allclose(inv_freq, rope["rope_theta"] ** -exponents, rtol=1e-5, atol=0.0):
        raise BadRecord(
            f"PRM {name}: rotary frequencies are {inv_freq[:3].tolist()} ..., not those of theta"
            f" {rope['rope_theta']}"
        )


@torch.no_grad()
def check_scores_differ(name: str, model: PreTrainedModel, head: nn.Module) -> None:
    """Score two different inputs.

    Raises: BadRecord where both get the same logits, or any is not finite.
    """
    ids_BT = (
        torch.arange(2 * _PROBE_TOKENS, device=model.device)
        .remainder(model.config.get_text_config().vocab_size // 2)
        .view(2, _PROBE_TOKENS)
    )
    normed_BD = (
        find_blocks(model).decoder(input_ids=ids_BT, use_cache=False).last_hidden_state[:, -1]
    )
    logits = head(normed_BD.to(next(head.parameters()).dtype))
    if not torch.isfinite(logits).all() or torch.allclose(
        logits[0], logits[1], rtol=0.0, atol=1e-6
    ):
        raise BadRecord(
            f"PRM {name} gives two different inputs the same scores, {logits.tolist()}: it is not"
            " loaded soundly"
        )


def load_language_model(
    model_class: Any, name: str, *, wrong: int, right: int, device: torch.device, dtype: torch.dtype
) -> PreTrainedModel:
    """Load a language model that says its verdict as a token; of its unembedding keep the rows
    (wrong, right), in float32.

    Raises: MissingInput, BadRecord.
    """
    model = load_checked(model_class, name, dtype=dtype)
    rows_KD = model.lm_head.weight.detach()[[wrong, right]].clone()
    model.lm_head = nn.Linear(rows_KD.shape[1], 2, bias=False)
    model.lm_head.weight = nn.Parameter(rows_KD, requires_grad=False)
    finish_loading(name, model, model.lm_head, device=device)
    return model


def load_classifier(
    model_class: Any, name: str, *, outputs: int, device: torch.device, dtype: torch.dtype
) -> PreTrainedModel:
    """Load and check a model with one linear head of `outputs` outputs, the head in float32.

    Raises: MissingInput; BadRecord, also where the head is another one.
    """
    model = load_checked(model_class, name, dtype=dtype)
    head = find_blocks(model).head
    if not isinstance(head, nn.Linear) or head.out_features != outputs:
        raise BadRecord(
            f"the head of PRM {name} is {head}, and its family has a linear one of {outputs}"
            f" output{'s' if outputs > 1 else ''}"
        )
    finish_loading(name, model, head, device=device)
    return model


def head_of(model: PreTrainedModel) -> nn.Linear:
    """Return the head of a model that was checked when it was loaded."""
    head = find_blocks(model).head
    assert isinstance(head, nn.Linear), type(head)
    return head


def read_logits(model: PreTrainedModel, head: nn.Module, states_ND: Tensor) -> Tensor:
    """Return the float32 logits [N, K] of states after the last block: final norm, then the
    head.
    """
    normed_ND = find_blocks(model).norm(states_ND)
    return head(normed_ND.to(next(head.parameters()).dtype)).float()


def read_two_way(model: PreTrainedModel, states_ND: Tensor) -> Tensor:
    """Return the probability [N], float32, of `right` against `wrong` under a linear head with
    these rows in the order (wrong, right).
    """
    return read_logits(model, head_of(model), states_ND).softmax(dim=-1)[:, 1]


@torch.no_grad()
def linear_direction(model: PreTrainedModel, head: nn.Linear) -> Tensor:
    """Return the direction r [D], float32, in which the residual stream after the last block raises
    the score.

    A head of one output has the row w; a head of the rows (wrong, right) has w = right - wrong. The
    final norm divides a state x by its root mean square rms(x) and multiplies it by a gain g, so
    the logit behind the score is (g * w) . x / rms(x) + constant. The direction is r = g * w: it
    holds the gain, and it leaves out the division, which is another number for each state.
    """
    rows_KD = head.weight.float()
    weight_D = rows_KD[0] if len(rows_KD) == 1 else rows_KD[1] - rows_KD[0]
    norm = read_norm(find_blocks(model).norm, shape_of(model.config).width)
    return norm.gain_D * weight_D


def encode_pieces(
    tokenizer: PreTrainedTokenizerBase, prompt: str, steps: Sequence[str], *, separator: str
) -> Encoded:
    """Encode the prompt, and each step followed by the separator, each piece by itself; a step ends
    at its separator's last token.
    """
    ids, after, ends = token_ids(tokenizer, prompt), token_ids(tokenizer, separator), []
    for step in steps:
        ids += token_ids(tokenizer, step) + after
        ends.append(len(ids) - 1)
    return Encoded(input_ids=tuple(ids), step_ends=tuple(ends))


def last_token(offsets: Sequence[tuple[int, int]], stop: int) -> int:
    """Return the last token that holds a part of the text before the character position `stop`.

    `offsets` are what a tokenizer says of where each token begins and stops; the bytes of one
    character share theirs.
    """
    return bisect_left(offsets, stop, key=lambda offset: offset[0]) - 1
