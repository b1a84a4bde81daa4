"""Lists of penalties as text: one number, several separated by commas, or `1e-3..1e4`, two a
decade.
"""

import math

from rewardscope.errors import ConfigError

_PER_DECADE = 2


def parse_penalties(text: str) -> tuple[float, ...]:
    """Return the penalties that `text` names, ascending, each once. Raises: ConfigError."""
    low, dots, high = text.partition("..")
    if dots:
        first, last = _number(low, text), _number(high, text)
        if not 0 < first < last:
            raise ConfigError(
                f"--ridge {text}: a range runs from a number above 0 to a larger one, as in"
                " 1e-3..1e4"
            )
        count = max(2, round(math.log10(last / first) * _PER_DECADE) + 1)
        ratio = (last / first) ** (1 / (count - 1))
        return tuple(float(f"{first * ratio**step:.12g}") for step in range(count))
    return tuple(sorted({_number(part, text) for part in text.split(",")}))


def _number(part: str, text: str) -> float:
    try:
        value = float(part)
    except ValueError:
        raise ConfigError(
            f"--ridge {text}: {part.strip()!r} is no number; write 1, 0.1,1,10 or 1e-3..1e4"
        ) from None
    if not 0 <= value < math.inf:
        raise ConfigError(f"--ridge {text}: a penalty must be 0 or more")
    return value
