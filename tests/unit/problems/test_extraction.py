import time

import pytest

from rewardscope.problems.extraction import extract


@pytest.mark.parametrize(
    ("text", "answer"),
    [
        (r"So the answer is $\boxed{42}$.", "42"),
        (r"\boxed{1}. Wait, no: \boxed{2}.", "2"),
        (r"\boxed{\frac{1}{2}}", r"\frac{1}{2}"),
        (r"\boxed{\{1, 2\}}", r"\{1, 2\}"),
        (r"\boxed{\left\{ x \right.}", r"\left\{ x \right."),  # an escaped brace opens nothing
        (r"\boxed{\boxed{5}}", r"\boxed{5}"),
        (r"\boxed {7}", "7"),
        (r"\fbox{7}", "7"),
        (r"<think>\boxed{3}, hmm</think> It is \boxed{4}.", "4"),
        (r"<think>\boxed{3}, hmm</think> It is 4.", "3"),
        (r"} \boxed{5} {", "5"),
    ],
)
def test_the_answer_is_the_last_complete_box(text, answer):
    assert extract(text).answer == answer


@pytest.mark.parametrize(
    ("text", "answer"),
    [
        ("So it is 9 * 2 = 18.\n#### 18", "18"),
        ("So 29 cents.\n\n# Answer\n\n29", "29"),
        ("That is it.\n\n        # Answer\n\n        \\sqrt{53}\n        \n", r"\sqrt{53}"),
        ("Done.\n\n# Answer\n\n\\[ 4210_5 \\]", "4210_5"),
        ("#### 18\nNo, I do not know.", None),
        ("# Answer\n\nLet us see.\nIt is 5.", None),
        (r"\boxed{7}" + "\n#### 18", "7"),
    ],
)
def test_without_a_box_the_last_line_may_be_marked_as_the_answer(text, answer):
    assert extract(text).answer == answer


@pytest.mark.parametrize(
    "text", ["", "The answer is 5.", r"\boxed{25", r"\boxed{}", r"\boxed{ }", r"boxed{5}"]
)
def test_without_a_complete_box_there_is_no_answer(text):
    assert extract(text, "boxed") == (None, "nowhere")


@pytest.mark.parametrize("rest", [r"\boxed{25", r"put it in \boxed{}.", r"\boxed{\frac{1}{2}"])
def test_a_box_that_is_cut_off_or_empty_does_not_replace_a_complete_one(rest):
    assert extract(rf"It is \boxed{{7}}. {rest}").answer == "7"


def test_a_complete_box_counts_also_within_one_that_never_ends():
    assert extract(r"\boxed{ so x is \boxed{5}, and").answer == "5"


@pytest.mark.parametrize(
    ("text", "answer"),
    [
        (r"$\boxed{1}$ and $\boxed{3}$", "1, 3"),
        (r"\boxed{1}, \boxed{2}, and \boxed{3}", "1, 2, 3"),
        (r"\boxed{0}. Then \boxed{1} or \boxed{3}", "1, 3"),
        (r"\boxed{1} and then \boxed{3}", "3"),
    ],
)
def test_boxes_that_only_a_comma_or_a_word_parts_are_one_answer(text, answer):
    assert extract(text).answer == answer


def test_extraction_is_linear_in_open_and_closed_boxes():
    started = time.process_time()
    assert extract(r"\boxed{" * 30_000).answer is None
    assert extract(r"\boxed{1} " * 30_000).answer == "1"
    # scanning to the end from every box would take minutes
    assert time.process_time() - started < 10
