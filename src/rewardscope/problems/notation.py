"""Rewrite the text of an answer into what math-verify reads right: signs, decorations, numbers."""

import re
from fractions import Fraction

_SIGNS = {
    "×": r"\times ",
    "·": r"\cdot ",
    "÷": "/",
    "−": "-",
    "≤": r"\le ",
    "⩽": r"\le ",
    "≥": r"\ge ",
    "⩾": r"\ge ",
    "≠": r"\ne ",
    "≈": r"\approx ",
    "±": r"\pm ",
    "∞": r"\infty ",
    "π": r"\pi ",
    "θ": r"\theta ",
    "∪": r"\cup ",
    "∩": r"\cap ",
    "∈": r"\in ",
    "∅": r"\emptyset ",
    "ℝ": r"\mathbb{R}",
    "ℤ": r"\mathbb{Z}",
    "ℕ": r"\mathbb{N}",
    "°": r"^\circ ",
    "º": r"^\circ ",
    "½": r"\frac{1}{2}",
    "⅓": r"\frac{1}{3}",
    "⅔": r"\frac{2}{3}",
    "¼": r"\frac{1}{4}",
    "¾": r"\frac{3}{4}",
    "\u00a0": " ",
    "\u2009": " ",
    "\u202f": " ",
}
_SIGN = re.compile("|".join(_SIGNS))
_SUPERSCRIPTS = str.maketrans("⁰¹²³⁴⁵⁶⁷⁸⁹⁺⁻ⁿ", "0123456789+-n")
_SUPERSCRIPT = re.compile("[⁰¹²³⁴⁵⁶⁷⁸⁹⁺⁻ⁿ]+")
_ROOT = re.compile(r"√\s*(?:\{([^{}]*)\}|\(([^()]*)\)|(\w+))")
_FULL_WIDTH = {code: code - 0xFEE0 for code in range(0xFF01, 0xFF5F)}
_ROWS = r"(?:aligned|align|gathered|gather|split|equation|eqnarray)\*?"
_ENVIRONMENT = re.compile(rf"\\(?:begin|end)\s*\{{{_ROWS}\}}(?:\[\w\])?")
_ANSWER = (
    r"(?:(?:so|thus|hence|therefore),?\s+)?(?:the\s+)?(?:final\s+|correct\s+)?answer\s*"
    r"(?:is\b\s*:?|:|=)\s*"
)
_DRESS = (
    # \bf, \large, \displaystyle and the like say how, not what
    (
        re.compile(
            r"\\(?:bf|it|rm|sf|tiny|small|normalsize|[lL]arge|LARGE|[hH]uge|boldmath|displaystyle"
            r"|textstyle|scriptstyle|limits|nonumber|bigl?|bigr?|Bigl?|Bigr?|phantom\{[^{}]*\})"
            r"(?![A-Za-z])"
        ),
        "",
    ),
    (re.compile(r"\\color\s*\{[^{}]*\}"), ""),
    (re.compile(r"\\(?:boldsymbol|bm|pmb|ensuremath|underline)\s*\{([^{}]*)\}"), r"\1"),
    (re.compile(r"^\s*\*\*(.*?)\*\*\s*$", re.DOTALL), r"\1"),  # **61**
    (re.compile(r"(?<=[\w)}])\s*\*\*\s*(?=[\w({\\-])"), "^"),  # 2**10
    (re.compile(rf"^\s*\\(?:text|mbox|mathrm)\s*\{{\s*{_ANSWER}\}}", re.IGNORECASE), ""),
    (re.compile(rf"^\s*{_ANSWER}", re.IGNORECASE), ""),
    (re.compile(r"^(?:\s|=|&|\\approx|\\simeq|\\cong|\\therefore|\\implies|\\[Rr]ightarrow)+"), ""),
    (re.compile(r"\\\$|[€£¥₹]|\\(?:pounds|euro|yen)(?![A-Za-z])|^\s*US(?=\d)"), ""),
    # ", where n >= 1", "(k \in \mathbb{Z})", "for all integers n"
    (
        re.compile(
            r"(?<=\S)[,;]?\s*\(?(?:\\(?:text|mbox|mathrm)\s*\{\s*)?[,(]?\s*"
            r"(?:where\b[^,=]{1,40}|for\s+(?:all|any|every|each|some)\b[^,=]*"
            r"(?:integer|number|\\mathbb)[^,=]*)$"
        ),
        "",
    ),
    (
        re.compile(
            r"(?<=\S)(?:,|\(|\\quad)\s*(?:\\[,;:! ]|\\quad|\()*[a-z]\s*\\in\s*\\?(?:mathbb)?\s*"
            r"\{?[ZN]\}?(?:[\^_]\{?[+*0]\}?)?\)?$"
        ),
        "",
    ),
    (re.compile(r"\\text\s*\{\s*\.?\s*\}|\.\s*(?=\}$)"), ""),
    (re.compile(r"\\q?quad(?![A-Za-z])"), " "),
)
_UPRIGHT = re.compile(r"\\(?:mathrm|text|textrm|operatorname|mathit)\s*\{\s*([ei])\s*\}")


def undressed(text: str) -> str:
    """Return the answer without what only decorates it, and with LaTeX for Unicode's signs."""
    text = text.translate(_FULL_WIDTH)
    text = _ROOT.sub(lambda m: rf"\sqrt{{{m[1] or m[2] or m[3]}}}", text)
    text = _SUPERSCRIPT.sub(lambda m: f"^{{{m[0].translate(_SUPERSCRIPTS)}}}", text)
    text = _SIGN.sub(lambda m: _SIGNS[m[0]], text)
    text = re.sub(r"(?<!\\)\$", "", text)
    if _ENVIRONMENT.search(text):
        text = _joined_rows(_ENVIRONMENT.sub("", text))
    for pattern, replacement in _DRESS:
        text = pattern.sub(replacement, text).strip()
    return _UPRIGHT.sub(r"\1 ", text).strip()


def _joined_rows(text: str) -> str:
    """Return the rows of an aligned block as one line: a row that begins with a sign goes on with
    the one before it; others are answers of their own.
    """
    rows = [row.replace("&", " ").strip() for row in re.split(r"\\\\(?:\[[^\]]*\])?", text)]
    joined = ""
    for row in filter(None, rows):
        goes_on = re.match(r"[=+\-]|\\(?:approx|times|cdot|le|ge)", row)
        joined += (" " if goes_on or not joined else ", ") + row
    return joined


_E_NOTATION = re.compile(r"(?<![A-Za-z\\\d.])(\d+\.?\d*|\.\d+)[eE]([+-]?\d+)(?![\d.A-Za-z^_{])")
_REPEATING = re.compile(r"(\d*)\.(\d*)\\overline\{(\d+)\}")
# \mathrm{~m} / \mathrm{s}^{2}
_UNITS = r"(?:\\(?:text|mbox|mathrm)\{[^{}]*\}(?:\^\{?-?\d+\}?)?(?:[\s/~]|\\cdot|\\,|\\ )*)+"
_SCALES = {"thousand": 3, "million": 6, "billion": 9, "trillion": 12}
_REWRITES = (
    *(
        (
            re.compile(rf"(?<=\d)\s*(?:\\text\{{\s*{word}\s*\}}|{word}\b)"),
            rf"\\times 10^{{{power}}} ",
        )
        for word, power in _SCALES.items()
    ),
    (re.compile(r"(?<![\\A-Za-z])pi(?![A-Za-z])"), r"\\pi "),  # 12 pi
    # a line of a matrix with its distance: \\[8pt]
    (re.compile(r"\\\\\[-?[\d.]+(?:pt|em|ex|mm)\]"), r"\\\\ "),
    (re.compile(r"\bnp\.(\w+)"), r"\\\1"),  # np.arcsin(10/13)
    (re.compile(r"(?<=\d)\.(?=\s*(?:[/*+)\-]|$))"), ""),  # -1./3, 12.
    (re.compile(r"(?<![\d./])(\d+) +(\d+)/(\d+)(?![\d./])"), r"\1\\frac{\2}{\3}"),  # 3 1/2
    # \text{3 apples}
    (re.compile(r"^\\(?:text|mbox|mathrm)\{\s*(-?[\d.,]+)\s+[A-Za-z ]+\}$"), r"\1"),
    (re.compile(r"(?<![\\A-Za-z])([Ee])(?=\s*_)"), r"\\mathcal{\1}"),  # E_{1} is not Euler's number
    # Text within a formula: math-verify takes all from the first \text{ to a closing brace at the
    # end for a unit. A space stops it.
    (re.compile(rf"(?!{_UNITS}$)\\(text|mbox|mathrm)\{{(?!\s*(?:and|or)\s*\}})"), r"\\\1 {"),
    # \gamma is taken for a function of what follows; as another letter it is a symbol
    (re.compile(r"\\gamma(?![A-Za-z])"), r"\\upsilon "),
    # M_{\odot}, m_{\max }
    (re.compile(r"_(?:\{\s*\\([A-Za-z]+)\s*\}|\\([A-Za-z]+)\b(?!\s*\{))"), r"_{\1\2}"),
)
_SHORT_ARGUMENTS = re.compile(r"\\[dtc]?(?:frac|binom)\s*\d\s*\d")  # \dfrac 1 2
_GROUPED = re.compile(r"(?<![\d.])\d{1,3}((?:\s|~|\\[,;:! ])+\d{3})+(?![\d])")
_GAP = re.compile(r"(?:\s|~|\\[,;:! ])+")
# two numbers with nothing between them: neither their sum nor their product, nor one number
_SIDE_BY_SIDE = re.compile(
    r"(?<![\w{}\\])(?:-?\d+(?:\.\d+)?)(?:\s|~|\\[,;:! ])+\d+(?:\.\d+)?(?![\d/]|\s*\\frac)"
)


def repair(text: str) -> str:
    """Rewrite what math-verify misreads: e-notation, repeating decimals, `np.`, bare trailing
    points, mixed numbers, `$` inside.
    """
    text = re.sub(r"(?<!\\)\$", "", text).strip()
    text = _GROUPED.sub(lambda m: _GAP.sub("", m[0]), text)
    for pattern, replacement in _REWRITES:
        text = pattern.sub(replacement, text)
    text = _E_NOTATION.sub(lambda m: rf"{m[1].rstrip('.')} \times 10^{{{int(m[2])}}}", text)
    return _REPEATING.sub(_as_fraction, text)


def has_numbers_side_by_side(text: str) -> bool:
    """Say whether two numbers stand side by side, as in `2 3`, which means nothing."""
    return _SIDE_BY_SIDE.search(_SHORT_ARGUMENTS.sub("x", text)) is not None


def _as_fraction(match: re.Match[str]) -> str:
    whole, fixed, repeated = match[1] or "0", match[2], match[3]
    period = 10 ** len(repeated) - 1
    value = Fraction(int(whole + fixed) * period + int(repeated), 10 ** len(fixed) * period)
    return rf"\frac{{{value.numerator}}}{{{value.denominator}}}"
