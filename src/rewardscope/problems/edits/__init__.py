"""Edits of right solutions by rule: those that leave a solution as right as it was, and those that
break it. `RULES` is the one registry.

    edited = RULES["wrong-number"].apply(Written(question, steps), seed=0)
"""

from collections.abc import Sequence

from rewardscope.errors import UnknownName
from rewardscope.problems.edits.changing import CHANGING
from rewardscope.problems.edits.preserving import PRESERVING
from rewardscope.problems.edits.rule import Edited, Kind, Rule, Written

RULES: dict[str, Rule] = {rule.name: rule for rule in (*PRESERVING, *CHANGING)}

__all__ = ["RULES", "Edited", "Kind", "Rule", "Written", "rules_named"]


def rules_named(names: Sequence[str]) -> list[Rule]:
    """Return the rules of these names; `all`, `preserving` and `changing` stand for several.

    Raises: UnknownName.
    """
    groups = {"all": list(RULES), "preserving": [r.name for r in PRESERVING]}
    groups["changing"] = [r.name for r in CHANGING]
    for name in names:
        if name not in RULES and name not in groups:
            raise UnknownName("edit", name, (*RULES, *groups))
    wanted = dict.fromkeys(one for name in names for one in groups.get(name, [name]))
    return [RULES[name] for name in wanted]
