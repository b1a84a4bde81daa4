"""save-acts --mode lm with a small random policy, against plain transformers."""

from pathlib import Path

import pytest
import torch
from transformers import (
    AutoModelForCausalLM,
    AutoTokenizer,
    PreTrainedTokenizerBase,
    Qwen2ForCausalLM,
)

from rewardscope.capturing.policy import trace_text
from rewardscope.errors import BadRecord, MissingInput
from rewardscope.records import Problem, SolvedProblem, Trace
from rewardscope.storage.acts import ActStore
from rewardscope.storage.jsonl import write_rows
from rewardscope.tiny.policy import tiny_config
from rewardscope.tiny.tokenizer import build_tokenizer
from tests.act_files import read_act_rows
from tests.e2e.acts_runs import run_stage

INSTRUCTION = "\n\nPlease reason step by step, and put your final answer within \\boxed{}."
STEPS = (("Tom has 3 apples.", "So \\boxed{3}."), ("a π, a 数 and an 🍎", " 3 + 4 = 7", "7"))


@pytest.fixture(scope="module")
def policy(tmp_path_factory: pytest.TempPathFactory) -> str:
    folder, tokenizer = tmp_path_factory.mktemp("policy"), build_tokenizer(n_problems=20)
    config = tiny_config(tokenizer)
    config.num_hidden_layers, config.layer_types = 3, ["full_attention"] * 3
    torch.manual_seed(0)
    Qwen2ForCausalLM(config).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return str(folder)


def write_traces(path: Path, traces: list[Trace]) -> Path:
    problem = Problem(id="toy/0", dataset="toy", question="How many apples?", answer="3")
    write_rows(path, [SolvedProblem(problem=problem, traces=tuple(traces), chosen=0).to_dict()])
    return path


def trace(index: int, scores: tuple[float, ...] | None, **more: object) -> Trace:
    return Trace(
        problem_id="toy/0",
        index=index,
        steps=STEPS[index],
        scores=scores,
        finish="eos",
        n_tokens=len(ids) if isinstance(ids := more.get("token_ids"), tuple) else 9,
        **more,
    )


def save(path: Path, policy: str, **flags: object) -> ActStore:
    return ActStore(run_stage(path, mode="lm", model_name=policy, **flags))


def text_of(tokenizer: PreTrainedTokenizerBase, steps: tuple[str, ...]) -> str:
    turn = [{"role": "user", "content": f"How many apples?{INSTRUCTION}"}]
    return tokenizer.apply_chat_template(
        turn, tokenize=False, add_generation_prompt=True
    ) + "\n\n".join(steps)


def test_states_are_those_of_the_policy_on_its_own_prompt_and_solution(
    tmp_path: Path, policy: str
) -> None:
    store = save(
        write_traces(tmp_path / "toy.jsonl", [trace(0, None), trace(1, (0.5, 0.25, 0.75))]),
        policy,
        positions="all-tokens",
    )
    tokenizer, model = (
        AutoTokenizer.from_pretrained(policy),
        AutoModelForCausalLM.from_pretrained(policy, dtype=torch.float32).eval(),
    )
    acts, rows = store.layer(1), read_act_rows(store)
    for index, steps in enumerate(STEPS):
        ids = tokenizer(text_of(tokenizer, steps), add_special_tokens=False, return_tensors="pt")[
            "input_ids"
        ]
        with torch.no_grad():
            hidden = model(input_ids=ids, output_hidden_states=True).hidden_states
        mine = [number for number, row in enumerate(rows) if row.trace == index]
        at = [rows[number].token for number in mine]
        assert [rows[number].token_id for number in mine] == ids[0, at].tolist()
        torch.testing.assert_close(acts[mine], hidden[2][0, at], rtol=1e-5, atol=1e-5)
        solution = tokenizer.decode([rows[number].token_id for number in mine])
        assert solution == "\n\n".join(steps)
    assert store.folder.name == "math-lm-toy" and store.info.prm is None


def hidden_states(policy: str, ids: list[int]) -> torch.Tensor:
    """Return the states after block 1, by transformers alone."""
    model = AutoModelForCausalLM.from_pretrained(policy, dtype=torch.float32).eval()
    with torch.no_grad():
        found = model(input_ids=torch.tensor([ids]), output_hidden_states=True)
    return found.hidden_states[2][0]


def test_states_are_those_of_the_tokens_that_were_generated(tmp_path: Path, policy: str) -> None:
    tokenizer = AutoTokenizer.from_pretrained(policy)
    prompt = tokenizer(text_of(tokenizer, ()), add_special_tokens=False)["input_ids"]
    solution = "\n\n".join(STEPS[0])
    # a character at a time: another way to write the same text
    ids = [
        token
        for character in solution
        for token in tokenizer(character, add_special_tokens=False)["input_ids"]
    ]
    assert ids != tokenizer(solution, add_special_tokens=False)["input_ids"]
    one = trace(0, None, token_ids=tuple(ids))
    store = save(write_traces(tmp_path / "toy.jsonl", [one]), policy, positions="all-tokens")
    rows = read_act_rows(store)
    assert [row.token_id for row in rows] == ids
    torch.testing.assert_close(
        store.layer(1), hidden_states(policy, prompt + ids)[len(prompt) :], rtol=1e-5, atol=1e-5
    )
    ends = [row.token - len(prompt) for row in rows if row.is_step_end]
    assert ends == [len(STEPS[0][0]) - 1, len(solution) - 1]


def test_a_text_without_ids_is_joined_by_its_own_delimiter(tmp_path: Path, policy: str) -> None:
    tokenizer = AutoTokenizer.from_pretrained(policy)
    one = trace(0, None, delimiter="\n")
    store = save(write_traces(tmp_path / "toy.jsonl", [one]), policy, positions="all-tokens")
    prompt = tokenizer(text_of(tokenizer, ()), add_special_tokens=False)["input_ids"]
    text = text_of(tokenizer, ()) + "\n".join(STEPS[0])
    ids = tokenizer(text, add_special_tokens=False)["input_ids"]
    assert [row.token_id for row in read_act_rows(store)] == ids[len(prompt) :]
    torch.testing.assert_close(
        store.layer(1), hidden_states(policy, ids)[len(prompt) :], rtol=1e-5, atol=1e-5
    )


def test_a_step_ends_at_its_last_token_and_has_the_reward_of_the_file(
    tmp_path: Path, policy: str
) -> None:
    store = save(
        write_traces(tmp_path / "toy.jsonl", [trace(0, None), trace(1, (0.5, 0.25, 0.75))]), policy
    )
    tokens = {sequence.trace: sequence.tokens for sequence in store.sequences}
    tokenizer = AutoTokenizer.from_pretrained(policy)
    rewards: dict[int, list] = {0: [], 1: []}
    for row in read_act_rows(store):
        upto = "".join(tokens[row.trace][: row.token + 1])
        assert upto.rstrip("\n") == text_of(tokenizer, STEPS[row.trace][: row.step + 1])
        rewards[row.trace].append(row.reward)
    assert rewards == {0: [None, None], 1: [0.5, 0.25, 0.75]}


def test_thoughts_stand_between_their_marks_as_the_policy_wrote_them() -> None:
    hidden = Trace(
        problem_id="p",
        index=0,
        steps=("A.", "B."),
        scores=None,
        finish="eos",
        n_tokens=1,
        thinking="hm\n\nso",
    )
    text, stops = trace_text(hidden, opened=False)
    assert text == "<think>\nhm\n\nso\n</think>\n\nA.\n\nB." and [
        text[:stop] for stop in stops
    ] == [text[:-4], text]
    shown = Trace(
        problem_id="p",
        index=0,
        steps=("hm", "so", "A."),
        scores=None,
        finish="eos",
        n_tokens=1,
        n_thinking=2,
    )
    text, stops = trace_text(shown, opened=True)
    assert text == "hm\n\nso\n</think>\n\nA." and [text[:stop] for stop in stops] == [
        "hm",
        "hm\n\nso",
        text,
    ]
    plain = Trace(
        problem_id="p", index=0, steps=("A.", "B."), scores=None, finish="eos", n_tokens=1
    )
    assert trace_text(plain, opened=False) == ("A.\n\nB.", [2, 6])


def test_a_model_that_is_no_decoder_is_refused_before_its_weights_are_read(
    tmp_path: Path, policy: str
) -> None:
    other = tmp_path / "other"
    AutoTokenizer.from_pretrained(policy).save_pretrained(other)
    (other / "config.json").write_text(
        '{"model_type": "bert", "architectures": ["BertForMaskedLM"]}'
    )
    with pytest.raises(BadRecord, match="model family 'bert' is not one of decoders"):
        save(write_traces(tmp_path / "toy.jsonl", [trace(0, None)]), str(other))


def test_traces_without_steps_are_counted(tmp_path: Path, policy: str) -> None:
    empty = Trace(problem_id="toy/0", index=0, steps=(), scores=None, finish="length", n_tokens=9)
    with pytest.raises(MissingInput, match=r"none of the 1 traces \(1 without steps\)"):
        save(write_traces(tmp_path / "toy.jsonl", [empty]), policy)
