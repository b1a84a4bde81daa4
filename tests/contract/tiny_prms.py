"""A small random PRM of each family on disk: the published class, key layout and kind of tokenizer,
scores spread well over their range.

The families' own names are in the folders' names, as some are known by nothing else.
"""

import json
import random
from pathlib import Path
from typing import Any

import torch
from tokenizers import Tokenizer, models, pre_tokenizers, trainers
from torch import nn
from transformers import (
    LlamaConfig,
    LlamaForCausalLM,
    LlamaForSequenceClassification,
    LlamaTokenizer,
    MistralConfig,
    MistralForCausalLM,
    PreTrainedModel,
    PreTrainedTokenizerFast,
    Qwen2Config,
    Qwen2ForTokenClassification,
    Qwen2Tokenizer,
)

from rewardscope.prms.qwen import Qwen2ForProcessRewardModel
from rewardscope.prms.skywork import Qwen2ForPrmModel
from rewardscope.tiny.tokenizer import build_tokenizer

WORDS = (
    "Tom",
    "has",
    "3",
    "7",
    "apples",
    "so",
    "there",
    "are",
    "12",
    "left.",
    "+",
    "-",
    "=",
    "\\boxed{4}",
    "π",
    "\n",
    "  ",
    "яблоки",
)
LLAMA_3_SPECIAL = (
    "<|begin_of_text|>",
    "<|eot_id|>",
    "<|start_header_id|>",
    "<|end_header_id|>",
    "<|finetune_right_pad_id|>",
)
LLAMA_3_CHAT = (
    "{{ bos_token }}<|start_header_id|>system<|end_header_id|>\n\nToday Date: {% if date_string is"
    " defined %}{{ date_string }}{% else %}{{ strftime_now('%d %b %Y') }}{% endif"
    " %}\n\n<|eot_id|>{% for message in messages %}<|start_header_id|>{{ message['role']"
    " }}<|end_header_id|>\n\n{{ message['content'] | trim }}<|eot_id|>{% endfor %}{% if"
    " add_generation_prompt %}<|start_header_id|>assistant<|end_header_id|>\n\n{% endif %}"
)
_SHAPE: dict[str, Any] = {
    "hidden_size": 32,
    "intermediate_size": 48,
    "num_hidden_layers": 3,
    "num_attention_heads": 2,
    "num_key_value_heads": 1,
    "max_position_embeddings": 512,
    "tie_word_embeddings": False,
}
PUBLISHED = {
    "qwen": "Qwen2.5-Math-PRM-7B",
    "reasonflux": "ReasonFlux-PRM-7B",
    "math-shepherd": "math-shepherd-mistral-7b-prm",
    "rlhflow": "Llama3.1-8B-PRM-Mistral-Data",
    "skywork-o1": "Skywork-o1-Open-PRM-Qwen-2.5-1.5B",
    "trl": "my-trl-prm",
    "h4": "Qwen2.5-Math-7B-Instruct-PRM-0.2",
    "pure": "PURE-PRM-7B",
    "outcome": "Skywork-Reward-Llama-3.1-8B",
}


def random_solutions(n: int, *, seed: int) -> list[tuple[str, list[str]]]:
    """Return `n` questions, each with 1 to 6 steps of 1 to 12 words; a step may end in blanks, and
    one begins with a newline.
    """
    rng = random.Random(seed)

    def text() -> str:
        return "a " + " ".join(rng.choice(WORDS) for _ in range(rng.randint(1, 12)))

    solutions = [(text(), [text() for _ in range(rng.randint(1, 6))]) for _ in range(n)]
    solutions[-1][1].append("\n\nWait, so.")
    return solutions


def qwen_tokenizer(**options: str) -> Qwen2Tokenizer:
    """Make a Qwen2 tokenizer; it spells `.` before an empty line, and empty lines, as one token."""
    tokenizer = build_tokenizer(n_problems=20)
    for name, value in options.items():
        setattr(tokenizer, name, value)
    return tokenizer


def mistral_tokenizer() -> LlamaTokenizer:
    """Make a tokenizer as SentencePiece has them: blanks as `▁`, one before the text, bytes for
    what is no piece, such as newlines.
    """
    trained = Tokenizer(models.BPE())
    trained.pre_tokenizer = pre_tokenizers.Metaspace()
    special = ["<unk>", "<s>", "</s>", *(f"<0x{byte:02X}>" for byte in range(256))]
    trainer = trainers.BpeTrainer(vocab_size=600, special_tokens=special, show_progress=False)
    trained.train_from_iterator(
        [
            "ки + - Step 1: Step 2: Tom has 3 apples so there are 12 left. книги яблоки a"
            " \\boxed{4} ="
        ]
        * 3,
        trainer,
    )
    model = json.loads(trained.to_str())["model"]
    return LlamaTokenizer(
        vocab=model["vocab"], merges=[tuple(merge) for merge in model["merges"]], add_bos_token=True
    )


def llama_3_tokenizer() -> PreTrainedTokenizerFast:
    """Make a tokenizer with the special tokens and the chat form of Llama 3.1, which shows today's
    date unless it is told one.
    """
    base = json.loads(build_tokenizer(n_problems=20).backend_tokenizer.to_str())
    backend = Tokenizer.from_str(json.dumps({**base, "added_tokens": [], "post_processor": None}))
    begin, end, *others, pad = LLAMA_3_SPECIAL
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_object=backend,
        bos_token=begin,
        eos_token=end,
        pad_token=pad,
        additional_special_tokens=others,
    )
    tokenizer.chat_template = LLAMA_3_CHAT
    return tokenizer


def _save(model: PreTrainedModel, tokenizer: Any, folder: Path) -> Path:
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


def _spread(model: PreTrainedModel, seed: int) -> PreTrainedModel:
    """Draw larger weights than at the start of training, so that scores differ widely, and gains
    and biases that are not 1 and 0.
    """
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.normal_(std=0.3, generator=generator)
        for module in model.modules():
            if "RMSNorm" in type(module).__name__:
                nn.init.uniform_(module.weight, 0.5, 1.5, generator=generator)
    return model


def make_prm(family: str, base: Path, *, seed: int = 0) -> Path:
    """Save a random PRM of the family and its tokenizer into a folder below `base` that is named as
    published; return the folder.
    """
    folder = base / PUBLISHED[family]
    if family == "math-shepherd":
        tokenizer: Any = mistral_tokenizer()
        model: PreTrainedModel = MistralForCausalLM(
            MistralConfig(vocab_size=len(tokenizer), **_SHAPE)
        )
    elif family in ("rlhflow", "outcome"):
        tokenizer = llama_3_tokenizer()
        config = LlamaConfig(
            vocab_size=len(tokenizer), pad_token_id=tokenizer.pad_token_id, num_labels=1, **_SHAPE
        )
        model = (LlamaForCausalLM if family == "rlhflow" else LlamaForSequenceClassification)(
            config
        )
    else:
        tokenizer = (
            qwen_tokenizer(bos_token="<|endoftext|>")
            if family == "skywork-o1"
            else qwen_tokenizer()
        )
        classes = {
            "qwen": Qwen2ForProcessRewardModel,
            "reasonflux": Qwen2ForProcessRewardModel,
            "skywork-o1": Qwen2ForPrmModel,
        }
        model = classes.get(family, Qwen2ForTokenClassification)(
            Qwen2Config(vocab_size=len(tokenizer), **_SHAPE)
        )
    return _save(_spread(model, seed), tokenizer, folder)
