r"""Take the final answer out of a solution: its last `\boxed`, what it states, or its last number.

What is taken out is text; whether it equals the gold answer is the matter of `answers.py`.
"""

import re
from decimal import Decimal, InvalidOperation
from typing import Literal, NamedTuple, get_args

ExtractionRule = Literal["boxed", "stated", "last-number"]
EXTRACTION_RULES: tuple[ExtractionRule, ...] = get_args(ExtractionRule)
DEFAULT_RULE: ExtractionRule = "stated"
EXTRACTION_HELP = (
    "where answers are taken from: boxed (the last \\boxed alone), stated (else what is stated:"
    " 'the answer is ...', '#### ...', 'Therefore ... 5 dollars'), last-number (else the last"
    " number of the text)"
)
Source = Literal["boxed", "stated", "last-number", "nowhere"]

_TOKEN = re.compile(
    r"\\+(?:boxed|fbox)\s*\{"
    # \boxed 3 and \boxed\frac12, which TeX takes as well
    r"|\\+(?:boxed|fbox)\s*"
    r"(?P<bare>-?\d[\d.,/]*(?<![.,/])|-?\\[dt]?frac\s*(?:\d\s*\d|(?:\{[^{}]*\}){2})|[A-Z])"
    r"(?![A-Za-z\d{])"
    r"|\\.|[{}]",
    re.DOTALL,
)
_BETWEEN_BOXES = re.compile(
    r"(?:[\s$]|\\[)\]])*(?:,|;|and|or|,\s*and|,\s*or)(?:[\s$]|\\[(\[])*"
    r"(?:[A-Za-z](?:_\{?\w+\}?)?\s*=\s*)?"
)
_AFTER_HEADING = re.compile(r"(?:####|^[ \t]*#[ \t]*Answer[ \t]*\n)\s*([^\n]+?)\s*\Z", re.MULTILINE)
_STATED = re.compile(
    r"\banswer[ \t]*(?:\*\*)?[ \t]*(?:\b(?:is|was|are|equals)\b(?:[ \t]*:)?|[:=])"
    r"[ \t]*(?:\*\*)?[ \t]*(?P<rest>[^\n]+)"
    # **Final Answer** above the last line
    r"|\banswer[ \t]*:?(?:\*\*)?:?[ \t]*\n\s*(?P<line>[^\n]+?)\s*\Z",
    re.IGNORECASE,
)
# where a sentence ends, or a reason begins
_END_OF_STATEMENT = re.compile(
    r"[.!?](?=\s|$)|;|[,\s]+(?:because|since|as|which|so|where)(?=\s|$)", re.IGNORECASE
)
_DISPLAY = re.compile(r"\\[\[(]\s*(.*?)\s*\\[\])]|\$\$?([^$]+)\$\$?")
_BOLD = re.compile(r"\*\*([^*]+)\*\*")
_CONCLUSION = re.compile(
    r"(?:^|[.\n])[\s*]*(?:therefore|thus|hence|so|in (?:total|conclusion|summary)|altogether)\b"
    r"(?P<rest>[^\n]+)",
    re.IGNORECASE,
)
_SENTENCE = re.compile(
    r"(?=[A-Za-z])(?:[^A-Za-z]*[A-Za-z'\u2019]+){2}|(?:[^A-Za-z]*\b[a-z]{2,}\b){3}"
)
_NO_SENTENCE = re.compile(
    r"\(?[A-Z]\)|(?:all|any|every|no|none|the set)\b|\S{1,9}\s*=", re.IGNORECASE
)
_AMOUNT = re.compile(
    r"(?<![\w.,])(?:(?<![\w)])-)?(?:\d{1,3}(?:,\d{3})+(?:\.\d+)?|\d*\.?\d+)"
    r"(?![\w,]*-?[A-Za-z]+-|-[A-Za-z])"
    r"(?:\s*(?:\\?%|percent\b|(?:thousand|[mb]illion|trillion)\b))?"
)
_RESULT = re.compile(r"(?:=|\\approx)\s*\\?[$]?\s*(-?\d[\d,]*(?:\.\d+)?)")
_NUMBER = re.compile(r"(?<![\w.])-?\d{1,3}(?:,\d{3})+(?:\.\d+)?|(?:(?<![\w.)])-)?\d*\.?\d+")


class Extracted(NamedTuple):
    """An answer and where it comes from."""

    answer: str | None
    source: Source


def extract(text: str, rule: ExtractionRule = DEFAULT_RULE) -> Extracted:
    r"""Return the answer of a solution; each rule goes on where the one before it finds nothing.

    - boxed: the last complete, non-empty `\boxed{...}`. Boxes that only a comma, "and" or "or"
      parts are one answer, joined by a comma: `\boxed{1} and \boxed{3}` is `1, 3`. A box within
      thinking counts only where none follows it; one cut off by the token limit does not count.
    - stated: a last line after `####` or `# Answer`; else what follows the last "answer is" or
      "Answer:", to the end of its sentence, or the amount in a whole sentence there; else the
      amount in the conclusion, a last paragraph's "Therefore ...".
    - last-number: the last number of the text, as in the flexible extraction of lm-eval and in
      Qwen's evaluation.
    """
    if boxed := _boxed(text):
        return Extracted(boxed, "boxed")
    if rule != "boxed" and (stated := _stated(text)):
        return Extracted(stated, "stated")
    if rule == "last-number" and (numbers := _NUMBER.findall(text)):
        return Extracted(numbers[-1], "last-number")
    return Extracted(None, "nowhere")


def marked_answer(text: str) -> str | None:
    r"""Return what a data set marks as its gold answer: the last box, or the last line after `####`
    or `# Answer`.
    """
    return _boxed(text) or _after_heading(text)


def _boxed(text: str) -> str:
    parts: list[str] = []
    following = None
    for begin, start, end, behind in reversed(_boxes(text)):
        content = text[start:end].strip()
        if not content:
            continue
        if following is not None and not _BETWEEN_BOXES.fullmatch(text, behind, following):
            break
        parts.insert(0, content)
        following = begin
    return ", ".join(parts)


def _boxes(text: str) -> list[tuple[int, int, int, int]]:
    """Return all complete boxes that lie in no other, in order: where the command begins, where its
    content starts and ends, and where the text goes on.
    """
    opened: list[re.Match[str] | None] = []  # the open braces: a box, or None for any other brace
    found: list[tuple[int, int, int, int]] = []
    for token in _TOKEN.finditer(text):
        if token["bare"]:
            found.append((token.start(), *token.span("bare"), token.end()))
        elif token[0] == "}" and opened:
            box = opened.pop()
            if box is not None:
                while found and found[-1][0] > box.start():
                    found.pop()
                found.append((box.start(), box.end(), token.start(), token.end()))
        elif token[0] == "{" or "box" in token[0]:
            opened.append(None if token[0] == "{" else token)
    return found


def _after_heading(text: str) -> str | None:
    heading = _AFTER_HEADING.search(text)
    return _without_dollars(heading[1]) if heading else None


def _stated(text: str) -> str | None:
    if heading := _after_heading(text):
        return heading
    if found := _last(_STATED, text):
        rest = found["rest"] or found["line"]
        if formula := _DISPLAY.match(rest.replace("**", "").strip()):
            return (formula[1] or formula[2]).strip() or None
        end = _END_OF_STATEMENT.search(rest)
        stated = rest[: end.start()] if end else rest
        plain = stated.replace("**", "").strip(" :*")
        if (
            "\\" in plain.replace("\\$", "")
            or _NO_SENTENCE.match(plain)
            or not _SENTENCE.match(plain)
        ):
            return _without_dollars(plain) or None
        return _amount_in(stated, text[: found.start()]) or plain
    if found := _last(_CONCLUSION, text.rstrip().rpartition("\n\n")[2]):
        return _amount_in(found["rest"], text.rstrip().rpartition("\n\n")[0])
    return None


def _last(pattern: re.Pattern[str], text: str) -> re.Match[str] | None:
    found = None
    for match in pattern.finditer(text):
        found = match
    return found


def _amount_in(sentence: str, before: str) -> str | None:
    """Return the amount that a sentence states: of several, the only one in bold type, or the one
    that was worked out last, or else the first.
    """
    bold = [amount[0] for part in _BOLD.findall(sentence) if (amount := _AMOUNT.search(part))]
    amounts = [amount[0] for amount in _AMOUNT.finditer(sentence)]
    if len(bold) == 1 or not amounts:
        return bold[0] if bold else None
    if result := _last(_RESULT, sentence):
        return result[1]
    result = _last(_RESULT, before)
    return next((each for each in amounts if result and _same_number(each, result[1])), amounts[0])


def _same_number(a: str, b: str) -> bool:
    try:
        return Decimal(a.replace(",", "")) == Decimal(b.replace(",", ""))
    except InvalidOperation:  # 5 percent
        return False


def _without_dollars(text: str) -> str:
    displayed = _DISPLAY.fullmatch(text)
    return (displayed[1] or displayed[2]).strip() if displayed else text
