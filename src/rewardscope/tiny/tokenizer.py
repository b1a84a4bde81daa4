"""The tokenizer of the shipped models: a Qwen2 tokenizer whose merges spell the words of tinymath,
and bytes for everything else.

transformers reads any tokenizer beside a Qwen2 config as a `Qwen2Tokenizer`: it keeps the
vocabulary and the merges of the file and puts its own pre-tokenizer before them (single digits,
words with their leading space). So this one is exactly that.
"""

import json
import random
from typing import Any

from tokenizers import Tokenizer, models, trainers
from tokenizers.pre_tokenizers import ByteLevel
from transformers import AddedToken, Qwen2Tokenizer

from rewardscope.problems.prompts import INSTRUCTION
from rewardscope.problems.tinymath import LEVELS, make_problem
from rewardscope.problems.tinymath_instruct import instruct_steps
from rewardscope.problems.tinymath_reasoner import reasoner_text

END, START_TURN, END_TURN, STEP_TAG = "<|endoftext|>", "<|im_start|>", "<|im_end|>", "<extra_0>"
THINKING = ("<think>", "</think>")
CHAT_TEMPLATE = (
    "{% for message in messages %}<|im_start|>{{ message['role'] }}\n{{ message['content']"
    " }}<|im_end|>\n{% endfor %}{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)
_ENOUGH = 4096  # pieces; training stops by itself when every word of the corpus is one


def _corpus(rng: random.Random, n: int) -> list[str]:
    texts = [f"system\nuser\nassistant\n{INSTRUCTION}\n\n", "\n\n\n"]
    for index in range(n):
        problem = make_problem(rng, level=1 + index % len(LEVELS))
        texts += [
            problem.question,
            "\n\n".join(instruct_steps(problem, rng)),
            reasoner_text(problem, rng),
        ]
    for mark in THINKING:
        texts = [text.replace(mark, "") for text in texts]
    return texts


def build_tokenizer(*, seed: int = 0, n_problems: int = 4000) -> Qwen2Tokenizer:
    """Make the tokenizer: 256 bytes, the merges of every word of the tinymath corpus, then the
    special tokens.
    """
    trained = Tokenizer(models.BPE())
    trained.pre_tokenizer = Qwen2Tokenizer().backend_tokenizer.pre_tokenizer
    trainer = trainers.BpeTrainer(
        vocab_size=_ENOUGH, initial_alphabet=sorted(ByteLevel.alphabet()), show_progress=False
    )
    trained.train_from_iterator(_corpus(random.Random(seed), n_problems), trainer)
    model = json.loads(trained.to_str())["model"]
    merges: Any = [tuple(merge) for merge in model["merges"]]
    tokenizer = Qwen2Tokenizer(
        vocab=model["vocab"],
        merges=merges,
        eos_token=END_TURN,
        pad_token=END,
        unk_token=END,
        model_max_length=4096,
    )
    tokenizer.add_tokens(
        [
            AddedToken(mark, special=True, normalized=False)
            for mark in (END, START_TURN, END_TURN, STEP_TAG)
        ]
    )
    tokenizer.add_tokens([AddedToken(mark, special=False, normalized=False) for mark in THINKING])
    tokenizer.chat_template = CHAT_TEMPLATE
    return tokenizer
