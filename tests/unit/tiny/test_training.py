"""Training of the shipped models: the optimizer's algebra, the labels of planted mistakes, and that
a few steps learn.
"""

import math
import random
import re

import torch
from transformers import Qwen2Config, Qwen2ForCausalLM

from rewardscope.problems.tinymath import make_problems
from rewardscope.problems.tinymath_instruct import judge_steps
from rewardscope.tiny.judged import UNKNOWN, drill, drill_steps, judge
from rewardscope.tiny.muon import Muon, optimizers, orthogonalise
from rewardscope.tiny.policy import train_policy, train_problem
from rewardscope.tiny.tokenizer import build_tokenizer


def test_orthogonalise_keeps_the_singular_vectors_and_flattens_the_values() -> None:
    torch.manual_seed(0)
    for shape in ((6, 10), (10, 6)):
        matrix = torch.randn(shape, dtype=torch.float64)
        u, _, vh = torch.linalg.svd(matrix, full_matrices=False)
        inside = u.T @ orthogonalise(matrix) @ vh.T
        values = inside.diagonal()
        assert torch.allclose(inside, torch.diag(values), atol=1e-9)
        assert ((values > 0.6) & (values < 1.3)).all()


def test_muon_first_step_is_the_orthogonalised_gradient_at_adamw_scale() -> None:
    torch.manual_seed(0)
    weight = torch.nn.Parameter(torch.randn(4, 9))
    before, weight.grad = weight.detach().clone(), torch.randn(4, 9)
    Muon([weight], lr=0.1).step()
    # The first momentum is 0.05 g, so the Nesterov update is a multiple of g, and orthogonalising
    # forgets the multiple.
    expected = before * (1 - 0.1 * 0.01) - 0.1 * 0.2 * 3 * orthogonalise(weight.grad)
    assert torch.allclose(weight.detach(), expected, atol=1e-5)


def test_every_parameter_is_trained_by_one_optimizer_and_the_rate_ends_at_zero() -> None:
    torch.manual_seed(0)
    config = Qwen2Config(
        vocab_size=32,
        hidden_size=16,
        intermediate_size=32,
        num_hidden_layers=1,
        num_attention_heads=2,
        num_key_value_heads=1,
    )
    model = Qwen2ForCausalLM(config)
    step = optimizers(model, lr=1e-2, steps=30)
    history = []
    for _ in range(30):
        before = [p.detach().clone() for p in model.parameters()]
        model(input_ids=torch.randint(32, (2, 8)), labels=torch.randint(32, (2, 8))).loss.backward()
        step()
        history.append(
            [
                float((p.detach() - q).abs().max())
                for p, q in zip(model.parameters(), before, strict=True)
            ]
        )
    assert all(moved > 0 for moved in history[0])
    assert max(history[-1]) < max(history[19]) / 5


def test_steps_without_flaws_are_right_and_the_first_flaw_makes_all_further_steps_wrong() -> None:
    rng, flawed = random.Random(0), 0
    for problem in make_problems(300, split="train", seed=9):
        written, right = drill_steps(problem, share=0.2, rng=rng)
        verdicts = judge_steps(problem, written)
        differs = [one != other for one, other in zip(written, right, strict=True)]
        first = differs.index(True) if True in differs else len(written)
        assert verdicts == [index < first for index in range(len(written))]
        flawed += first < len(written)
    assert 150 < flawed < 300


def test_training_problems_never_come_from_the_test_split() -> None:
    rng = random.Random(0)
    assert all(train_problem(rng).split == "train" for _ in range(300))


def test_a_right_equation_is_what_a_drill_expects_after_the_numbers_written_before_it() -> None:
    rng, seen = random.Random(0), []
    for problem in make_problems(100, split="train", seed=5):
        written, right = drill_steps(problem, share=0.5, rng=rng)
        for one, other in zip(written[1:], right[1:], strict=True):
            if "=" in other:
                left, sign, second, result = re.search(
                    r"(\d+) ([-+*/]) (\d+) = (\d+)", other
                ).groups()
                assert eval(f"{left} {sign} {second}") == int(result)
                seen.append(one == other)
    assert 0.35 < sum(seen) / len(seen) < 0.65


def test_drills_label_numbers_by_themselves_and_all_tokens_by_what_came_before() -> None:
    tokenizer, rng, flaws = build_tokenizer(n_problems=50), random.Random(0), 0
    for _ in range(60):
        example = drill(tokenizer, share=0.2, rng=rng)
        places = range(len(example.input_ids))
        assert all(
            (example.own[i] == 1) == (example.expected[i] == example.input_ids[i])
            for i in places
            if example.own[i] != UNKNOWN
        )
        labels = [label for label in example.so_far if label != UNKNOWN]
        assert labels == sorted(labels, reverse=True)
        assert labels.count(1) == len(labels) or example.own[example.so_far.index(0)] == 0
        assert all(example.so_far[end] != UNKNOWN for end in example.step_ends)
        flaws += 0 in labels
    assert 30 < flaws < 60


def test_a_judged_solution_agrees_with_the_checker_and_is_unsure_only_within_the_wrong_number() -> (
    None
):
    tokenizer, rng = build_tokenizer(n_problems=50), random.Random(0)
    for problem in make_problems(60, split="train", seed=7):
        written, _ = drill_steps(problem, share=0.2, rng=rng)
        example, verdicts = judge(tokenizer, problem, written), judge_steps(problem, written)
        assert [example.so_far[end] for end in example.step_ends] == [
            int(verdict) for verdict in verdicts
        ]
        inside = example.so_far[example.step_ends[0] - 1 : example.step_ends[-1] + 1]
        unsure = [i for i, label in enumerate(inside) if label == UNKNOWN]
        assert len(unsure) <= 3
        assert [label for label in inside if label != UNKNOWN] == sorted(
            (label for label in inside if label != UNKNOWN), reverse=True
        )


def test_a_few_steps_of_training_lower_the_loss() -> None:
    torch.manual_seed(0)
    tokenizer = build_tokenizer(n_problems=50)
    config = Qwen2Config(
        vocab_size=len(tokenizer),
        hidden_size=32,
        intermediate_size=64,
        num_hidden_layers=1,
        num_attention_heads=2,
        num_key_value_heads=1,
    )
    model = Qwen2ForCausalLM(config)
    loss = train_policy(model, tokenizer, style="tiny-instruct", steps=30, batch=4, lr=1e-2, seed=0)
    assert loss < 0.9 * math.log(len(tokenizer))
