"""Find out what process reward models reward, why they misguide, and how to repair them.

The names below are what notebooks and other programs use. Each is loaded when it is asked for, so
that `import rewardscope` takes no time; torch comes with the first one that needs it.

    prm = rewardscope.load_prm("checkpoints/tiny/tiny-prm")
    prm.score(question, steps)  # array [S]
    prm.states(question, steps, layers=[3])  # {3: [T, D]}
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from rewardscope.api.acts import capture, open_acts
    from rewardscope.api.models import edited, load_policy, load_prm
    from rewardscope.api.probes import fit_probe
    from rewardscope.api.saes import load_sae
    from rewardscope.api.traces import grade, read_traces
    from rewardscope.records import Estimate

_HOMES = {
    "load_prm": "rewardscope.api.models",
    "load_policy": "rewardscope.api.models",
    "edited": "rewardscope.api.models",
    "read_traces": "rewardscope.api.traces",
    "grade": "rewardscope.api.traces",
    "capture": "rewardscope.api.acts",
    "open_acts": "rewardscope.api.acts",
    "fit_probe": "rewardscope.api.probes",
    "load_sae": "rewardscope.api.saes",
    "Estimate": "rewardscope.records",
}

__all__ = [
    "Estimate",
    "capture",
    "edited",
    "fit_probe",
    "grade",
    "load_policy",
    "load_prm",
    "load_sae",
    "open_acts",
    "read_traces",
]


def __getattr__(name: str) -> Any:
    if name == "__version__":
        from importlib.metadata import version

        return version("rewardscope")
    if name not in _HOMES:
        raise AttributeError(f"module 'rewardscope' has no attribute {name!r}")
    return getattr(import_module(_HOMES[name]), name)


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
