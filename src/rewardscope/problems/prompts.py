"""The prompts given to policies. PRM prompts belong to the PRM families in `prms/`."""

from transformers import PreTrainedTokenizerBase

INSTRUCTION = r"Please reason step by step, and put your final answer within \boxed{}."


def policy_prompt(tokenizer: PreTrainedTokenizerBase, question: str) -> str:
    """Return the text that a policy continues: its own chat template, or a plain form where it has
    none.
    """
    content = f"{question}\n\n{INSTRUCTION}"
    if tokenizer.chat_template is None:
        return f"{content}\n\n"
    prompt = tokenizer.apply_chat_template(
        [{"role": "user", "content": content}], tokenize=False, add_generation_prompt=True
    )
    assert isinstance(prompt, str), type(prompt)
    return prompt


def encode_prompt(tokenizer: PreTrainedTokenizerBase, question: str) -> list[int]:
    """Return the token ids of the prompt.

    A chat template writes its own first token, so none is added then.
    """
    return tokenizer(
        policy_prompt(tokenizer, question), add_special_tokens=tokenizer.chat_template is None
    )["input_ids"]
