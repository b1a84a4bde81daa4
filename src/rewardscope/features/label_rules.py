"""The rules by which text is sorted: phrases as patterns, the rest by the kind of each token.

This table is all that decides. A rule of an earlier label wins; a phrase labels every token that it
touches, so `the answer is` makes three tokens an answer frame.
"""

from typing import Literal, get_args

from rewardscope.features.categories import Category

Label = Literal[
    "special",
    "answer_frame",
    "metacognition",
    "latex",
    "maths_word",
    "whitespace",
    "unicode",
    "number",
    "punctuation",
    "other",
]
LABELS: tuple[Label, ...] = get_args(Label)
FORMATTING_LABELS: tuple[Label, ...] = ("whitespace", "punctuation", "unicode")
"""The paper's formatting artefacts, as in `categories.FORMATTING`."""

OF_TOKEN: dict[Category, Label] = {
    "whitespace": "whitespace",
    "punctuation": "punctuation",
    "unicode": "unicode",
    "digit": "number",
    "operator": "number",
    "word": "other",
    "markup": "special",
    "step_tag": "special",
}
"""What a token is called that no phrase touches."""

_CHECK = "check|see|think|verify|re-?[a-z]+|try|double[- ]?check|recall|consider|start|look|find|do"
_MATHS = (
    "equation|sum|product|difference|quotient|fraction|ratio|percent(?:age)?|total|multipl[a-z]+"
    "|times|divid[a-z]+|divisor|divisible|add(?:ition)?|subtract(?:ion)?|plus|minus|equal|squared?"
    "|cubed?|root|angle|triangle|circle|radius|diameter|area|volume|perimeter|probability|integer"
    "|prime|factor(?:ial)?|even|odd|digit|decimal|function|variable|polynomial|coefficient|matrix"
    "|vector|derivative|integral|limit|theorem|proof|proven?|solve|solution|simplif[a-z]+"
    "|calculat[a-z]+|comput[a-z]+|value|average|mean|median|sequence|series|modulo?|remainder"
    "|greater|less|half|twice|double|triple|quadratic|linear|exponent|power|logarithm"
)
PHRASES: tuple[tuple[Label, tuple[str, ...]], ...] = (
    (
        "answer_frame",
        (
            r"\\boxed\b(?:\s*\{)?",
            r"#{4}",
            r"\b(?:(?:the|my|our)\s+)?(?:final\s+)?answer\b(?:\s+(?:is|must\s+be))?(?:\s*:)?",
        ),
    ),
    (
        "metacognition",
        (
            r"\bwait\b",
            r"\bh+m+\b",
            r"\bhold\s+on\b",
            rf"\blet\s+(?:me|us)\s+(?:{_CHECK})\b",
            rf"\blet[’']?s\s+(?:{_CHECK})\b",
            r"\b(?:double|re)[- ]?check(?:ing|ed)?\b",
            r"\b(?:actually|alternatively|maybe|perhaps)\b",
            r"\b(?:okay|oops|ah|oh)\b",
            r"\bI\s+(?:think|guess|wonder|should|need\s+to|made|remember|recall|must\s+have)\b",
            r"\bI[’']?\s*a?m\s+(?:not\s+)?sure\b",
            r"\b(?:my|a)\s+mistake\b",
            r"\b(?:that|this|it)\s+(?:makes|does\s*n[’']?o?t\s+make|can[’']?not\s+be)\b",
            r"\bmakes?\s+sense\b",
            r"\bgo(?:ing)?\s+back\b",
            r"\banother\s+(?:way|approach|method)\b",
            r"\bis\s+(?:that|this)\s+right\b",
        ),
    ),
    (
        "latex",
        (
            r"\\(?:begin|end)\{[a-z*]+\}",
            r"\\[A-Za-z]+",
            r"\\[()\[\]{},;:!%$#&_ \\]",
            r"\$+",
            r"[_^]\{?",
            r"[{}]",
        ),
    ),
    ("maths_word", (rf"(?<!\\)\b(?:{_MATHS})(?:s|es|ed|ing)?\b",)),
)
"""Of phrases, those of an earlier label first; upper and lower case are the same."""
