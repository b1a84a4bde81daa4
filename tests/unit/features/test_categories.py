import pytest

from rewardscope.features.categories import category_of


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
