"""What tells the methods apart, and that a new one is a line of the registry."""

from pathlib import Path

import pytest

from rewardscope.errors import UnknownName
from rewardscope.search.methods import METHODS, are_independent, find_method, made_by
from rewardscope.storage.files import manifest_of, write_json
from tests.unit.search.fakes import GREEDY_STEPS, FakePolicy, FakePrm, config, problem, search

SCORES = {"a": 0.5, "b": 0.9, "c": 0.1, "a1": 0.2, "a2": 0.8, "b1": 0.3, "b2": 0.6, "b3": 0.7}


def test_dvts_keeps_the_best_of_each_root_where_beam_search_keeps_the_best_of_all() -> None:
    script = {
        "Q|": ["a\n\n", "b\n\n", "c\n\n", "d\n\n"],
        **{f"Q|{letter}\n\n": ["x"] for letter in "abcd"},
    }
    prm = FakePrm({"a": 0.8, "b": 0.9, "c": 0.1, "d": 0.2, "x": 0.5})
    first_steps = {}
    for method in ("beam", "dvts"):
        ((solved, _),) = search(
            [problem("Q")], FakePolicy(script), scorer=prm, config=config(method=method)
        )
        first_steps[method] = {trace.steps[0] for trace in solved.traces}
    assert first_steps == {"beam": {"a", "b"}, "dvts": {"b", "d"}}


def test_a_branch_of_dvts_ends_alone() -> None:
    script = {
        "Q|": ["a", "b\n\n", "c\n\n", "d\n\n"],
        "Q|d\n\n": ["x\n\n"],
        "Q|d\n\nx\n\n": ["y"],
        "Q|b\n\n": ["z"],
    }
    prm = FakePrm({"a": 0.8, "b": 0.1, "c": 0.1, "d": 0.2, "x": 0.5, "y": 0.5, "z": 1.0})
    ((solved, _),) = search(
        [problem("Q")], FakePolicy(script), scorer=prm, config=config(method="dvts")
    )
    # b lost to a, which ended its branch
    assert [trace.steps for trace in solved.traces] == [("a",), ("d", "x", "y")]


def test_one_round_is_best_of_n_and_scores_every_step() -> None:
    policy = FakePolicy({"Q|": ["a\n\nb1", "b\n\nb2\n\nb3", "c"]})
    prm = FakePrm(SCORES)
    ((solved, _),) = search(
        [problem("Q")], policy, scorer=prm, config=config(n=3, width=1, max_steps=1)
    )
    assert policy.calls[0]["stop"] == ()
    assert [trace.scores for trace in solved.traces] == [(0.9, 0.6, 0.7), (0.5, 0.3), (0.1,)]


def test_best_of_n_gives_every_sample_also_equal_ones_which_are_scored_once() -> None:
    prm = FakePrm({"a": 0.4, "b": 0.9})
    ((solved, _),) = search(
        [problem("Q")],
        FakePolicy({"Q|": ["a", "b", "a", "a"]}),
        scorer=prm,
        config=config(max_steps=1),
    )
    assert [trace.steps for trace in solved.traces] == [("b",), ("a",), ("a",), ("a",)]
    assert [trace.index for trace in solved.traces] == [0, 1, 2, 3] and solved.cost.merged == 2
    assert [len(call) for call in prm.calls] == [2]


def test_best_of_n_has_one_round_whatever_the_steps_allowed() -> None:
    policy = FakePolicy({"Q|": ["a\n\nb1", "b", "c", "a"]})
    ((solved, _),) = search(
        [problem("Q")], policy, scorer=FakePrm(SCORES), config=config(method="best-of-n")
    )
    assert [call["stop"] for call in policy.calls] == [()] and len(solved.traces) == 4


def test_a_method_that_is_registered_is_searched_with(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(METHODS, GREEDY_STEPS.name, GREEDY_STEPS)
    script = {
        "Q|": [f"{letter}\n\n" for letter in "abcd"],
        "Q|b\n\n": ["b1\n\n", "b2\n\n"],
        "Q|b\n\nb2\n\n": ["b3"],
    }
    policy, prm = FakePolicy(script), FakePrm({**SCORES, "d": 0.2})
    ((solved, _),) = search(
        [problem("Q")], policy, scorer=prm, config=config(method="greedy-steps")
    )
    # two roots, then one beam at a time
    assert [call["prompts"] for call in policy.calls] == [2, 1, 1]
    assert [trace.steps for trace in solved.traces] == [("b", "b2", "b3")]
    written = tmp_path / "m_toy_greedy_steps_prm.jsonl"
    assert made_by(written) == "greedy-steps" and not are_independent(written)


def test_every_method_has_names_of_its_own() -> None:
    assert all(name == method.name for name, method in METHODS.items())
    for field in ("suffix", "title"):
        assert len({getattr(method, field) for method in METHODS.values()}) == len(METHODS)
    # a file's name tells its method: none ends in another's suffix
    suffixes = [method.suffix for method in METHODS.values()]
    assert not [(a, b) for a in suffixes for b in suffixes if a != b and a.endswith(b)]


def test_published_names_stay() -> None:
    assert {name: method.suffix for name, method in METHODS.items()} == {
        "beam": "_beam_search_prm",
        "dvts": "_dvts_prm",
        "best-of-n": "_best_of_n_prm",
    }


def test_an_unknown_method_is_told_with_the_known_ones() -> None:
    with pytest.raises(
        UnknownName, match=r"unknown value of --search 'beams'.*did you mean 'beam'"
    ):
        find_method("beams")


@pytest.mark.parametrize(
    ("name", "manifest", "by", "independent"),
    [
        ("m_toy", {}, "samples", True),
        ("m_toy", {"extra": {"temperature": 0}}, "greedy", True),
        ("m_toy", {"settings": {"search": "dvts"}}, "dvts", False),
        ("m_toy_dvts_prm", None, "dvts", False),
        ("m_toy_best_of_n_prm", None, "best-of-n", True),
        ("m_toy", None, "samples", True),
    ],
)
def test_a_file_says_which_method_made_it(
    tmp_path: Path, name: str, manifest: dict | None, by: str, independent: bool
) -> None:
    path = tmp_path / f"{name}.jsonl"
    if manifest is not None:
        write_json(manifest_of(path), manifest)
    assert made_by(path) == by and are_independent(path) is independent
