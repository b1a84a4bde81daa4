"""Words that carry meaning: opposites, times of day, ratios, the letter of a choice."""

import re
from fractions import Fraction

# One word of a family excludes those of its other members.
_FAMILIES: tuple[dict[str, str], ...] = (
    {
        "up": r"increas\w*|rise|rises|rose|gain\w*|growth|grew|higher|profit",
        "down": r"decreas\w*|fall|falls|fell|drop\w*|declin\w*|reduc\w*|lower|loss|lost",
    },
    {"more": r"more|greater", "less": r"less|fewer|smaller"},
    {"north": r"north\w*", "south": r"south\w*"},
    {"east": r"\w*east", "west": r"\w*west"},
    {"left": r"left\w*", "right": r"right\w*"},
    {"clockwise": r"clockwise", "other": r"counter-?clockwise|anti-?clockwise"},
    {"above": r"above|upwards?|up", "below": r"below|downwards?|down"},
    {"before": r"before|earlier|ago", "after": r"after|later"},
    {"positive": r"positive", "negative": r"negative"},
    {"maximum": r"maxim\w+", "minimum": r"minim\w+"},
    {"inward": r"inwards?", "outward": r"outwards?"},
    {"true": r"true|yes", "false": r"false|no"},
    {"odd": r"odd", "even": r"even"},
)
_WORDS = tuple(
    {
        member: re.compile(rf"(?<![\\A-Za-z])(?:{words})(?![A-Za-z])", re.IGNORECASE)
        for member, words in family.items()
    }
    for family in _FAMILIES
)
_HALF = r"(?:\\(?:text|mbox|mathrm)\s*\{)?\s*([ap])\s*\.?\s*m\b\.?\s*\}?"
_TIME = re.compile(
    r"(\d{1,2})(?::|\{:\})([0-5]\d)(?:(?::|\{:\})([0-5]\d))?"
    rf"(?:\s|~|\\[,;: ])*(?:{_HALF})?\.?",
    re.IGNORECASE,
)
_HOUR = re.compile(rf"(\d{{1,2}})(?:\s|~|\\[,;: ])*{_HALF}", re.IGNORECASE)
_RATIO = re.compile(
    r"\d+(?:\.\d+)?(?:\s*(?::|\{:\}|\\colon|\\text\{\s*to\s*\}|\bto\b)\s*\d+(?:\.\d+)?)+"
)
_CHOICE = re.compile(
    r"\s*\\?(?:(?:text|textbf|mathbf|mathrm|bf)\s*\{)?\s*\(\s*([A-Ja-j])\s*\)\s*\}?"
    r"(?:\s|~|\\[,;:! ]|\\q?quad)*(.*)",
    re.DOTALL,
)


def are_opposed(a: str, b: str) -> bool:
    """Say whether both name a member of one family, such as left and right, and not the same."""
    for family in _WORDS:
        named = [
            {member for member, words in family.items() if words.search(text)} for text in (a, b)
        ]
        if named[0] and named[1] and named[0] != named[1]:
            return True
    return False


def time_of_day(text: str) -> tuple[int, str] | None:
    """Return the seconds since midnight or noon, and `a`, `p` or nothing for the half of the day.

    A time without one, above 12 hours, belongs to the second half.
    """
    found = _TIME.fullmatch(text.strip()) or _HOUR.fullmatch(text.strip())
    if found is None:
        return None
    hour, *rest, half = found.groups()
    minutes, seconds = (*(int(part or 0) for part in rest), 0, 0)[:2]
    if int(hour) > 24 or (half and not 1 <= int(hour) <= 12):
        return None
    half = (half or ("p" if int(hour) > 12 else "")).lower()
    return (int(hour) % 12) * 3600 + minutes * 60 + seconds, half


def same_time(a: tuple[int, str], b: tuple[int, str]) -> bool:
    """Say whether two times are the same; one without its half of the day may be either."""
    return a[0] == b[0] and (not a[1] or not b[1] or a[1] == b[1])


def ratio(text: str) -> tuple[Fraction, ...] | None:
    """Return the members of a ratio `1:2:5`, divided by the last that is not 0."""
    if not _RATIO.fullmatch(text.strip()):
        return None
    members = [Fraction(number) for number in re.findall(r"\d+(?:\.\d+)?", text)]
    unit = next((member for member in reversed(members) if member), None)
    return None if unit is None else tuple(member / unit for member in members)


def choice(text: str) -> tuple[str, str] | None:
    r"""Return the letter of a choice and what follows it: C and 12 of `\textbf{(C)}\ 12`."""
    found = _CHOICE.fullmatch(text)
    return (found[1].upper(), found[2].strip()) if found else None
