"""The tokenizer of the shipped models: whole words and single digits, and bytes for everything else.

Any text survives a round trip exactly. Words come from the tinymath corpus; a word outside it is spelled in bytes.
"""

import collections
import random

from tokenizers import AddedToken, Regex, Tokenizer, decoders, models, pre_tokenizers
from transformers import PreTrainedTokenizerFast

from rewardscope.problems.prompts import INSTRUCTION
from rewardscope.problems.tinymath import LEVELS, instruct_steps, make_problem
from rewardscope.problems.tinymath_reasoner import reasoner_text

PIECES = Regex(r"\\[a-z]+| ?\p{L}+| ?\p{N}| ?[^\s\p{L}\p{N}]|\n+|\s")
END, START_TURN, END_TURN, STEP_TAG = "<|endoftext|>", "<|im_start|>", "<|im_end|>", "<extra_0>"
CHAT_TEMPLATE = (
    "{% for message in messages %}<|im_start|>{{ message['role'] }}\n{{ message['content'] }}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)


def _pre_tokenizer() -> pre_tokenizers.PreTokenizer:
    split = pre_tokenizers.Split(PIECES, behavior="isolated")
    return pre_tokenizers.Sequence([split, pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)])


def _corpus(rng: random.Random, n: int) -> list[str]:
    texts = [f"system\nuser\nassistant\n{INSTRUCTION}\n\n", " ".join("0123456789"), "0123456789", "\n \n\n \n\n\n"]
    for index in range(n):
        problem = make_problem(rng, level=1 + index % len(LEVELS))
        texts += [problem.question, "\n\n".join(instruct_steps(problem, rng)), reasoner_text(problem, rng)]
    return texts


def build_tokenizer(*, seed: int = 0, n_problems: int = 4000) -> PreTrainedTokenizerFast:
    """Make the tokenizer: special tokens, 256 bytes, then every piece of the tinymath corpus, most frequent first."""
    pre_tokenizer = _pre_tokenizer()
    counts = collections.Counter(
        piece for text in _corpus(random.Random(seed), n_problems) for piece, _ in pre_tokenizer.pre_tokenize_str(text)
    )
    pieces = sorted(pre_tokenizers.ByteLevel.alphabet())
    pieces += sorted((p for p, count in counts.items() if len(p) > 1 and count >= 1), key=lambda p: (-counts[p], p))
    tokenizer = Tokenizer(models.BPE(vocab={p: i for i, p in enumerate(pieces)}, merges=[], ignore_merges=True))
    tokenizer.pre_tokenizer = pre_tokenizer
    tokenizer.decoder = decoders.ByteLevel()
    tokenizer.add_special_tokens([AddedToken(t, special=True, normalized=False) for t in (END, START_TURN, END_TURN, STEP_TAG)])
    tokenizer.add_tokens([AddedToken(t, special=False, normalized=False) for t in ("<think>", "</think>")])
    fast = PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, eos_token=END_TURN, pad_token=END, model_max_length=4096, clean_up_tokenization_spaces=False
    )
    fast.chat_template = CHAT_TEMPLATE
    return fast
