"""The search tree of the trace viewer and the comparison, in Chromium; what a keyboard reaches."""

import re
from pathlib import Path
from typing import Any

import pytest

from rewardscope.records import Problem, SolvedProblem, Trace
from rewardscope.storage.jsonl import write_solved
from tests.e2e.browser import Visit, needs_chromium, visit
from tests.e2e.planted_features import (
    HOSTILE,
    HOSTILE_FEATURE,
    page_data,
    settings_on,
    show_dash,
    write_inputs,
)

pytestmark = needs_chromium
EVIL = HOSTILE[0]


def solved(number: int, *, worst: float, right: bool, **more: Any) -> SolvedProblem:
    """Return a problem with three traces, two of which begin alike."""
    name = f"p/{number}"
    steps = [("start", f"then {EVIL}"), ("start", "or this"), ("another", "way")]
    traces = [
        Trace(
            problem_id=name,
            index=index,
            steps=each,
            scores=(0.5, worst),
            finish="eos",
            n_tokens=None,
            correct=right and index == 0,
            **more,
        )
        for index, each in enumerate(steps)
    ]
    problem = Problem(id=name, dataset="d", question=f"What of {EVIL}?", answer="7")
    return SolvedProblem(problem=problem, traces=tuple(traces), chosen=0)


@pytest.fixture(scope="module")
def pages(tmp_path_factory: pytest.TempPathFactory) -> Path:
    home = tmp_path_factory.mktemp("compare")
    settings = settings_on(write_inputs(home), home / "data")
    by = {"scores_by": {"other-prm": (0.5, 0.25)}}
    searched = [solved(0, worst=0.5, right=True, **by), solved(1, worst=1.0, right=True, **by)]
    write_solved(settings.data_dir / "one_beam_search_prm.jsonl", searched)
    others = [solved(number, worst=0.75, right=False) for number in range(2)]
    write_solved(settings.data_dir / "two.jsonl", others)
    return show_dash(settings, traces=("one_beam_search_prm", "two"), layers="0", problems=2)


def quiet(seen: Visit) -> str:
    assert (seen.console, seen.requests) == ([], [])
    return re.sub(r"<script.*?</script>", "", seen.dom, flags=re.DOTALL)


def side_of(pages: Path, name: str, scorer: str) -> int:
    data = page_data(pages / "compare.html")
    source = next(i for i, one in enumerate(data["sources"]) if one["name"].startswith(name))
    return data["sides"].index([source, scorer])


def test_a_search_is_drawn_as_a_tree_and_says_what_is_not_kept(pages: Path, tmp_path: Path) -> None:
    dom = quiet(visit(pages / "traces.html", tmp_path, hash="#0"))
    tree = re.findall(r'<svg class="tree".*?</svg>', dom, flags=re.DOTALL)
    assert len(tree) == 1 and "(beam)" in dom
    # the root, two first steps, and three second ones
    assert tree[0].count("<circle") == 1 + 2 + 3
    assert tree[0].count('class="chosen"') == 2
    assert "step 2, PRM score 0.50: then &lt;script&gt;" in tree[0]
    assert "dropped on the way are not in the generations file" in dom


def test_two_prms_are_compared_on_the_same_traces(pages: Path, tmp_path: Path) -> None:
    one, other = side_of(pages, "one", ""), side_of(pages, "one", "other-prm")
    seen = visit(pages / "compare.html", tmp_path, query="?theme=dark", hash=f"#{one}-{other}/1")
    dom = quiet(seen)
    # problem 1: |1 - 0.25| on every second step, problem 0: |0.5 - 0.25|
    found = re.findall(r"\|Δ\| (0\.\d\d) over (\d) steps", dom)
    assert found == [("0.38", "6"), ("0.13", "6")] or found == [("0.38", "6"), ("0.12", "6")]
    assert "Δ −0.75" in dom and "&lt;script&gt;alert(1)&lt;/script&gt;" in dom


def test_two_policies_are_compared_on_the_same_problems(pages: Path, tmp_path: Path) -> None:
    page = pages / "compare.html"
    plain, two = side_of(pages, "math-rm-plain", ""), side_of(pages, "two", "")
    dom = quiet(visit(page, tmp_path, hash=f"#{plain}-{two}", width=390))
    assert dom.count("apart in right traces") == 2
    assert dom.count('<section class="column panel"') == 2 and "1 of 3 traces right" in dom


def test_a_keyboard_reaches_the_search_the_list_and_the_card(pages: Path, tmp_path: Path) -> None:
    keys = """<script>addEventListener('load', () => setTimeout(() => {
      const press = (node, key) => node.dispatchEvent(
        new KeyboardEvent('keydown', { key, bubbles: true, cancelable: true }));
      const said = [];
      press(document.body, '/');
      said.push(document.activeElement.id);
      const row = document.querySelector('tr[data-id="HOSTILE"]');
      row.focus();
      said.push(document.activeElement === row);
      press(row, 'Enter');
      press(document.body, 'j');
      press(document.body, 'k');
      said.push(location.hash);
      const bare = [...document.querySelectorAll('[onclick], tr[data-id], th button')];
      said.push(bare.every(node => node.tabIndex >= 0));
      document.title = 'keys ' + said.join(' ');
    }, 1500));</script></body>""".replace("HOSTILE", str(HOSTILE_FEATURE))
    page = pages / "keys.html"
    page.write_text((pages / "layer_00.html").read_text().replace("</body>", keys))
    seen = visit(page, tmp_path)
    quiet(seen)
    assert f"<title>keys search true #{HOSTILE_FEATURE} true</title>" in seen.dom
