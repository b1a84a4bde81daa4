"""The hf engine against transformers' own `generate` on the same prompts: greedy and sampled tokens
a CPU second, one thread.
"""

from typing import Any

import torch

from benchmarks.measure import best_cpu_seconds, keep_row
from rewardscope.engines.hf import HfEngine
from rewardscope.models.load import load_causal_lm
from rewardscope.paths import TINY
from rewardscope.problems.prompts import encode_prompt
from rewardscope.problems.tinymath import load_tinymath

N_PROMPTS, MAX_TOKENS, ROUNDS = 64, 128, 3


def main() -> None:
    torch.set_num_threads(1)
    engine = HfEngine(str(TINY / "tiny-instruct"), device="cpu")
    model: Any = load_causal_lm(
        str(TINY / "tiny-instruct"), device=torch.device("cpu"), dtype=torch.float32
    )
    prompts = [
        encode_prompt(engine.tokenizer, problem.question) for problem in load_tinymath(N_PROMPTS)
    ]
    padded = engine.tokenizer.pad({"input_ids": prompts}, padding_side="left", return_tensors="pt")
    tokens: dict[str, int] = {}

    def ours() -> None:
        outputs = engine.generate(
            prompts,
            n=1,
            stop=(),
            temperature=0.0,
            top_p=1.0,
            max_tokens=MAX_TOKENS,
            seeds=list(range(N_PROMPTS)),
        )
        tokens["ours"] = sum(len(output[0].token_ids) for output in outputs)

    def theirs() -> None:
        with torch.inference_mode():
            out = model.generate(
                input_ids=padded["input_ids"],
                attention_mask=padded["attention_mask"],
                do_sample=False,
                max_new_tokens=MAX_TOKENS,
            )
        new = out[:, padded["input_ids"].shape[1] :]
        special = torch.tensor([engine.tokenizer.eos_token_id, engine.tokenizer.pad_token_id])
        tokens["theirs"] = int((~torch.isin(new, special)).sum())

    seconds = best_cpu_seconds({"ours": ours, "theirs": theirs}, rounds=ROUNDS)
    speed = {name: tokens[name] / seconds[name] for name in seconds}
    keep_row(
        "generate",
        {
            "what": "greedy decoding, tiny-instruct, float32, one thread",
            "prompts": N_PROMPTS,
            "max_tokens": MAX_TOKENS,
            "rounds": ROUNDS,
            "ours_tokens_per_cpu_s": round(speed["ours"]),
            "transformers_generate_tokens_per_cpu_s": round(speed["theirs"]),
            "ratio": round(speed["ours"] / speed["theirs"], 2),
            "tokens": tokens,
        },
    )


if __name__ == "__main__":
    main()
