"""Units of measurement behind a number: what they are, and by which factor two of them differ."""

import re
from fractions import Fraction
from typing import NamedTuple

# base dimension and factor to its unit; a name ends in s as well
_NAMES: dict[str, tuple[str, Fraction]] = {}
for _dimension, _entries in {
    "length": "m meter metre=1; inch inches in=0.0254; ft foot feet=0.3048; yd yard=0.9144;"
    " mi mile=1609.344",
    "mass": "g gram gm=1; lb pound lbs=453.59237; oz ounce=28.349523125; ton tonne=1000000",
    "time": "s sec second=1; min minute=60; h hr hour=3600; day=86400; week=604800",
    "money": "dollar usd=1; cent=0.01",
    "angle": "degree deg=1",
    "volume": "l liter litre=1",
    "hertz": "hz=1",
    "newton": "n=1",
    "joule": "j joule=1",
    "watt": "w watt=1",
    "volt": "v volt=1",
    "ampere": "a=1",
    "pascal": "pa=1",
    "kelvin": "k=1",
    "electronvolt": "ev=1",
    "radian": "rad radian=1",
}.items():
    for _entry in _entries.split(";"):
        _words, _factor = _entry.strip().split("=")
        for _word in _words.split():
            _NAMES[_word] = (_dimension, Fraction(_factor))
# what has a name of its own but is made of others is not compared with those
_COMPARABLE = {"length", "mass", "time", "money"}
_CASED = {"n", "j", "w", "v", "a", "pa", "k", "hz", "ev"}  # known in their own letters only
_PREFIXES = {
    "k": Fraction(1000),
    "kilo": Fraction(1000),
    "M": Fraction(10**6),
    "G": Fraction(10**9),
    "d": Fraction(1, 10),
    "deci": Fraction(1, 10),
    "c": Fraction(1, 100),
    "centi": Fraction(1, 100),
    "m": Fraction(1, 1000),
    "milli": Fraction(1, 1000),
    "n": Fraction(1, 10**9),
    "nano": Fraction(1, 10**9),
}
_PREFIXED = {"m", "meter", "metre", "g", "gram", "s", "second", "l", "liter", "litre"} | _CASED
_SPELLED = {"N", "J", "W", "V", "A", "Pa", "K", "Hz", "eV", "L"}
_SPEEDS = {"mph": "mi/h", "kmph": "km/h", "kph": "km/h", "kmh": "km/h"}

_WRAPPER = r"\\(?:text|mbox|mathrm|textrm|operatorname|textit|mathit)\s*\{[^{}]*\}"
_POWER = r"\^\s*(?:\{\s*-?\d\s*\}|-?\d)"
_GLUE = r"(?:\s|~|/|\\[,;:! ]|\\cdot(?![A-Za-z])|\\times(?![A-Za-z]))"
_FRACTION = rf"\\[dt]?frac\s*\{{(?:{_WRAPPER}|[A-Za-z]|{_POWER}|{_GLUE})+\}}"
_FRACTION += rf"\{{(?:{_WRAPPER}|[A-Za-z]|{_POWER}|{_GLUE})+\}}"
_BEHIND_A_NUMBER = r"(?<=[\d})])|(?<=\\pi)|(?<=\\pi )"
_CERTAIN_TAIL = re.compile(
    rf"(?:{_BEHIND_A_NUMBER})(?P<unit>{_GLUE}*(?:(?:{_WRAPPER}|{_FRACTION}|[A-Za-z]{{3,}}+)"
    rf"(?:{_POWER})?{_GLUE}*+)+|{_GLUE}*+\^?\s*\{{?\s*\\(?:circ|degree)\s*\}}?)$"
)
_PLAIN_TAIL = re.compile(
    rf"(?:{_BEHIND_A_NUMBER})(?P<unit>{_GLUE}*(?:(?:{_WRAPPER}|{_FRACTION}|[A-Za-z]++)"
    rf"(?:{_POWER})?{_GLUE}*+)+)$"
)
_TOKEN = re.compile(r"([A-Za-z]+)\s*(?:\^\s*\{?\s*(-?\d)\s*\}?)?|(/)|(\S)")
_SQUARES = {"square": 2, "sq": 2, "cubic": 3, "cu": 3}


class Unit(NamedTuple):
    """A unit as powers of base dimensions, and its factor to their units."""

    dimensions: tuple[tuple[str, int], ...]
    factor: Fraction

    def relation(self, other: "Unit") -> Fraction | bool | None:
        """Return the factor from this unit to the other, False where they measure different things,
        None where nothing can be said.
        """
        if self.dimensions == other.dimensions:
            return self.factor / other.factor
        names = {name for name, _ in (*self.dimensions, *other.dimensions)}
        return False if names <= _COMPARABLE else None


def split_unit(text: str, *, plain: bool) -> tuple[str, Unit | None]:
    r"""Return an answer without the unit at its end, and the unit; where there is none or it is
    unknown, the text as it is and None.

    Units in `\text{}` and words are sure to be some; short plain letters (`5 m`) may be variables
    and count only with `plain`.
    """
    found = (_PLAIN_TAIL if plain else _CERTAIN_TAIL).search(text)
    unit = _unit(found["unit"]) if found else None
    return (text[: found.start()].rstrip(" ~\\,"), unit) if found and unit else (text, None)


def _unit(text: str) -> Unit | None:
    if re.search(r"\\(?:circ|degree)", text):
        return Unit((("angle", 1),), Fraction(1))
    text = re.sub(
        r"\\(?:text|mbox|mathrm|textrm|operatorname|textit|mathit)\s*\{([^{}]*)\}", r" \1 ", text
    )
    text = re.sub(r"\\[dt]?frac\s*\{(.*)\}\s*\{(.*)\}", r" \1 / \2 ", text)
    text = re.sub(r"~|\\[,;:! ]|\\cdot|\\times|\.(?=\s|$)|\(|\)", " ", text)
    text = re.sub(r"\bper\b", "/", text)
    for speed, spelled in _SPEEDS.items():
        text = re.sub(rf"\b{speed}\b", spelled, text)
    powers: dict[str, int] = {}
    factor, sign, ahead = Fraction(1), 1, 1
    for name, power, slash, other in _TOKEN.findall(text):
        if other:
            return None
        if slash:
            sign = -1
        elif name.lower() in _SQUARES:
            ahead = _SQUARES[name.lower()]
        elif base := _base(name):
            exponent = sign * (int(power) if power else ahead)
            powers[base[0]] = powers.get(base[0], 0) + exponent
            factor, ahead = factor * base[1] ** exponent, 1
        else:
            return None
    dimensions = tuple(sorted((name, power) for name, power in powers.items() if power))
    return Unit(dimensions, factor) if powers else None


def _base(name: str) -> tuple[str, Fraction] | None:
    for prefix, scale in [("", Fraction(1)), *_PREFIXES.items()]:
        rest = name.removeprefix(prefix)
        if not name.startswith(prefix) or not rest:
            continue
        for stem in (rest, rest.removesuffix("s")):
            low = stem.lower()
            known = low in _NAMES and (stem in _SPELLED if low in _CASED else True)
            if len(stem) == 1 and low != stem and stem not in _SPELLED:
                continue
            if known and (not prefix or low in _PREFIXED):
                dimension, factor = _NAMES[low]
                return dimension, factor * scale
    return None
