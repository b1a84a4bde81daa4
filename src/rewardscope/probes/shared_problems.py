"""Which problems of several save-acts folders are one and the same, so that none is learnt from in
one and judged on in another.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path

from rewardscope.storage.acts import ActStore
from rewardscope.storage.jsonl import read_rows


def same_problems(stores: Sequence[ActStore]) -> list[dict[str, str]]:
    """Return for each folder the id that stands for each of its problems: problems of equal id or
    equal question are one.

    Questions are read from the generations files; where one is gone, the ids alone decide and
    nothing is returned.
    """
    questions = [read_questions(store) for store in stores]
    if not all(questions):
        return [{} for _ in stores]
    # of ids and of questions, marked apart; a chain of them ends at the one that stands for all
    leader: dict[str, str] = {}

    def find(node: str) -> str:
        while leader.setdefault(node, node) != node:
            node = leader[node]
        return node

    for known in questions:
        for problem_id, question in known.items():
            one, other = sorted((find(f"id {problem_id}"), find(f"question {question}")))
            leader[other] = one  # ids sort first, so an id always stands for the rest
    return [
        {problem_id: find(f"id {problem_id}").removeprefix("id ") for problem_id in known}
        for known in questions
    ]


def read_questions(store: ActStore) -> Mapping[str, str]:
    """Return the question of each problem, without differences in white space; nothing where the
    generations are gone.
    """
    path = Path(store.info.generations or "")
    if not path.is_file():
        return {}
    return {
        row["problem"]["id"]: " ".join(row["problem"]["question"].split())
        for row in read_rows(path)
    }
