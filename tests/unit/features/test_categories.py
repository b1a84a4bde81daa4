import numpy as np
import pytest

from rewardscope.features.categories import CATEGORIES, category_of, row_texts


@pytest.mark.parametrize(
    ("text", "category"),
    [
        ("\n\n", "whitespace"),
        ("  ", "whitespace"),
        ("\u00a0", "whitespace"),
        (".", "punctuation"),
        (" ,", "punctuation"),
        ("$", "punctuation"),
        ("\\", "punctuation"),
        ("…", "unicode"),
        ("—", "unicode"),
        (" ✓", "unicode"),
        ("→", "unicode"),
        ("\ufffd", "unicode"),
        ("", "unicode"),
        ("7", "digit"),
        (" 42", "digit"),
        ("٣", "digit"),
        ("+", "operator"),
        (" ×", "operator"),
        ("=", "operator"),
        ("≤", "operator"),
        ("Wait", "word"),
        (" été", "word"),
        ("\\frac", "word"),
        ("x2", "word"),
        ("数", "word"),
        ("<think>", "markup"),
        ("</think>", "markup"),
        ("<|im_end|>", "markup"),
        ("<", "operator"),
        ("3.", "digit"),
        (").\n", "punctuation"),
    ],
)
def test_each_kind_of_token_has_its_category(text: str, category: str) -> None:
    assert category_of(text) == category


def test_with_every_token_a_step_end_is_a_step_tag() -> None:
    tokens = [["Wait", "\n", "<extra_0>"], ["7", "<extra_0>"]]
    found = row_texts(
        tokens,
        np.array([0, 0, 0, 1, 1]),
        np.array([0, 1, 2, 0, 1]),
        np.array([False, False, True, False, True]),
        every_token=True,
    )
    assert [CATEGORIES[code] for code in found.category_N] == [
        "word",
        "whitespace",
        "step_tag",
        "digit",
        "step_tag",
    ]
    assert [found.texts[code] for code in found.text_N] == [
        "Wait",
        "\n",
        "<extra_0>",
        "7",
        "<extra_0>",
    ]


def test_with_step_ends_only_a_row_stands_for_the_token_before_its_tag() -> None:
    tokens = [["Wait", "\n", "<extra_0>"], ["7", "<extra_0>"]]
    found = row_texts(
        tokens, np.array([0, 1]), np.array([2, 1]), np.array([True, True]), every_token=False
    )
    assert [CATEGORIES[code] for code in found.category_N] == ["whitespace", "digit"]
    assert [found.texts[code] for code in found.text_N] == ["\n", "7"]
