"""Training of the shipped models: the optimizer's algebra, the labels of planted mistakes, and that a few steps learn."""

import itertools
import math
import random
import re

import torch
from transformers import Qwen2Config, Qwen2ForCausalLM

from rewardscope.problems.tinymath import judge_steps, make_problems
from rewardscope.tiny.muon import Muon, optimizers, orthogonalise
from rewardscope.tiny.policy import train_policy, train_problem
from rewardscope.tiny.prm import corrupted_steps, drill_examples, planted_examples
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
    # The first momentum is 0.05 g, so the Nesterov update is a multiple of g, and orthogonalising forgets the multiple.
    expected = before * (1 - 0.1 * 0.01) - 0.1 * 0.2 * 3 * orthogonalise(weight.grad)
    assert torch.allclose(weight.detach(), expected, atol=1e-5)


def test_every_parameter_is_trained_by_one_optimizer_and_the_rate_ends_at_zero() -> None:
    torch.manual_seed(0)
    config = Qwen2Config(
        vocab_size=32, hidden_size=16, intermediate_size=32, num_hidden_layers=1, num_attention_heads=2, num_key_value_heads=1
    )
    model = Qwen2ForCausalLM(config)
    step = optimizers(model, lr=1e-2, steps=30)
    history = []
    for _ in range(30):
        before = [p.detach().clone() for p in model.parameters()]
        model(input_ids=torch.randint(32, (2, 8)), labels=torch.randint(32, (2, 8))).loss.backward()
        step()
        history.append([float((p.detach() - q).abs().max()) for p, q in zip(model.parameters(), before, strict=True)])
    assert all(moved > 0 for moved in history[0])
    assert max(history[-1]) < max(history[19]) / 5


def test_planted_mistakes_always_end_in_a_wrong_answer_step() -> None:
    rng = random.Random(0)
    for problem in make_problems(300, split="train", seed=9):
        verdicts = judge_steps(problem, corrupted_steps(problem, rng))
        assert not verdicts[-1]
        assert verdicts == sorted(verdicts, reverse=True)


def test_training_problems_never_come_from_the_test_split() -> None:
    rng = random.Random(0)
    assert all(train_problem(rng).split == "train" for _ in range(300))


def test_planted_examples_label_every_solution_token_and_agree_with_the_checker_at_step_ends() -> None:
    tokenizer = build_tokenizer(n_problems=50)
    at_ends = []
    for example in planted_examples(tokenizer, 40, random.Random(0)):
        assert len(example.labels) == len(example.encoded.input_ids)
        ends = [example.labels[end] for end in example.encoded.step_ends]
        assert ends == sorted(ends, reverse=True)  # once wrong, wrong to the end
        after_wrong = example.labels[example.encoded.step_ends[ends.index(0)] :] if 0 in ends else ()
        assert 1 not in after_wrong
        at_ends += ends
    assert 0.3 < sum(at_ends) / len(at_ends) < 0.9


def test_drills_are_right_exactly_where_the_written_equation_holds() -> None:
    tokenizer, seen = build_tokenizer(n_problems=50), []
    for example in drill_examples(tokenizer, 30, random.Random(0)):
        ids, ends = example.encoded.input_ids, example.encoded.step_ends
        for start, end in itertools.pairwise(ends[:-1]):
            left, sign, right, result = re.search(r"(\d+) ([-+*/]) (\d+) = (\d+)", tokenizer.decode(ids[start + 1 : end])).groups()
            holds = abs(eval(f"{left} {sign} {right}") // 1) == int(result)
            assert example.labels[end] == int(holds)
            seen.append(holds)
    assert 0.35 < sum(seen) / len(seen) < 0.65


def test_a_few_steps_of_training_lower_the_loss() -> None:
    torch.manual_seed(0)
    tokenizer = build_tokenizer(n_problems=50)
    config = Qwen2Config(
        vocab_size=len(tokenizer), hidden_size=32, intermediate_size=64, num_hidden_layers=1, num_attention_heads=2, num_key_value_heads=1
    )
    model = Qwen2ForCausalLM(config)
    loss = train_policy(model, tokenizer, style="tiny-instruct", steps=30, batch=4, lr=1e-2, seed=0)
    assert loss < 0.9 * math.log(len(tokenizer))
