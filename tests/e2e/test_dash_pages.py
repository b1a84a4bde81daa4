import html
import json
import re
from pathlib import Path

import numpy as np
import pytest

from rewardscope.dashboard.page import layer_page, list_name, piece, piece_file
from rewardscope.settings import Settings
from tests.e2e.browser import Visit, needs_chromium, visit
from tests.e2e.planted_features import (
    HOSTILE_FEATURE,
    NEWLINE,
    STEP_END,
    diff,
    layer_pages,
    page_data,
    settings_on,
    show_dash,
    write_inputs,
)

pytestmark = needs_chromium


@pytest.fixture(scope="module")
def pages(tmp_path_factory: pytest.TempPathFactory) -> Path:
    home = tmp_path_factory.mktemp("pages")
    settings: Settings = settings_on(write_inputs(home, step_ends=True), home / "data")
    diff(settings)
    return show_dash(settings)


def is_quiet(seen: Visit) -> bool:
    """Say that nothing was said in the console, and nothing asked of a network."""
    assert (seen.console, seen.requests) == ([], [])
    return True


def test_a_request_and_an_error_of_a_page_would_be_seen(tmp_path: Path) -> None:
    page = tmp_path / "loud.html"
    page.write_text("<img src='http://127.0.0.1:9/x.png'><script>console.error('loud')</script>")
    seen = visit(page, tmp_path)
    assert seen.requests == ["http://127.0.0.1:9/x.png"]
    assert any("loud" in line for line in seen.console)


def test_a_card_shows_features_and_hostile_tokens_as_text(pages: Path, tmp_path: Path) -> None:
    seen = visit(pages / "layer_00.html", tmp_path, hash=f"#{HOSTILE_FEATURE}")
    assert is_quiet(seen)
    data = layer_pages(pages, 0)
    card = next(f for f in data["features"] if f["id"] == HOSTILE_FEATURE)
    assert f"Feature {HOSTILE_FEATURE}" in seen.dom
    assert "&lt;script&gt;alert(1)&lt;/script&gt;" in seen.dom
    assert "U+2028" in seen.dom and "\u2028" not in re.sub(r"<script.*?</script>", "", seen.dom)
    shown = [len(card[kind]) for kind in ("examples", "middle", "low")]
    assert shown[0] == 12 and seen.dom.count('<div class="context">') == sum(shown)
    assert seen.dom.count("<tr data-id=") == data["listed"]["n"]


def test_every_page_is_quiet_on_a_narrow_screen(pages: Path, tmp_path: Path) -> None:
    for name in ("index.html", "layer_05.html", "traces.html"):
        assert is_quiet(visit(pages / name, tmp_path, query="?theme=dark", width=390))


def test_step_ends_and_tokens_are_found_over_all_layers(pages: Path, tmp_path: Path) -> None:
    def found(words: str) -> list[tuple[str, str]]:
        seen = visit(pages / "index.html", tmp_path, query=f"?find={words}")
        assert is_quiet(seen)
        return re.findall(r'href="layer_(\d\d)\.html#(\d+)"', seen.dom)

    step_ends = [("00", str(STEP_END)), ("05", str(STEP_END))]
    assert found("step%20end") == found("extra_0") == step_ends
    assert found("%22%5Cn%5Cn%22")[0] == ("00", str(NEWLINE))


def test_a_feature_beyond_the_top_is_listed_and_says_where_its_contexts_are(
    pages: Path, tmp_path: Path
) -> None:
    home = tmp_path / "few"
    settings = settings_on(pages.parents[2], home)
    out = show_dash(settings, layers="0", top=1)
    data = layer_pages(out, 0)
    places = data["listed"]["columns"]["place"]
    assert sorted(places) == [-1] * (len(places) - 1) + [0] and len(places) > 1
    beyond = data["listed"]["columns"]["id"][-1]
    seen = visit(out / "layer_00.html", tmp_path, hash=f"#{beyond}")
    assert is_quiet(seen)
    assert f"Feature {beyond}" in seen.dom and "invoke dash --top N shows more than 1" in seen.dom


def test_a_piece_that_is_not_there_is_said_on_the_page(pages: Path, tmp_path: Path) -> None:
    alone = tmp_path / "layer_00.html"
    alone.write_text((pages / "layer_00.html").read_text())
    assert "layer_00/list.js is not beside this page" in visit(alone, tmp_path).dom


def test_traces_stand_side_by_side_and_take_the_colour_of_a_feature(
    pages: Path, tmp_path: Path
) -> None:
    seen = visit(pages / "traces.html", tmp_path, hash=f"#feature=0/{HOSTILE_FEATURE}")
    assert is_quiet(seen)
    assert seen.dom.count('<section class="column panel"') == 2
    coloured = re.findall(
        r'style="background: ?rgba[^"]*" title="activation [^"]*">(.*?)</span>', seen.dom
    )
    assert "&lt;script&gt;alert(1)&lt;/script&gt;" in coloured
    assert not any(text.startswith(("Wait", ".", " 7")) for text in coloured)


def test_a_list_of_28672_features_opens_within_two_seconds(pages: Path, tmp_path: Path) -> None:
    n, data = 28_672, page_data(pages / "layer_05.html")
    random = np.random.default_rng(0)
    columns = {
        "id": list(range(n)),
        "place": [-1] * n,
        "n": random.integers(1, 90, n).tolist(),
        "counts": random.integers(0, 40, (n, 2)).tolist(),
        "texts": random.integers(-1, 5000, (n, 6)).tolist(),
        "shares": random.random((n, 6)).round(2).tolist(),
        "kind": random.integers(0, 8, n).tolist(),
        "side": random.integers(0, 3, n).tolist(),
    }
    for name in ("mean", "max", "share", "reward", "right", "diff"):
        columns[name] = random.random(n).round(3).tolist()
    listed = {
        "n": n,
        "columns": columns,
        "tokens": [f" token{i}" for i in range(5000)],
        "sides": ["neither", "reasoning", "instruct"],
    }
    page = tmp_path / "layer_05.html"
    timer = "<script>addEventListener('load', () => { const t = setInterval(() => { if"
    timer += " (document.documentElement.dataset.ready) { clearInterval(t); document.title ="
    timer += " 'ms ' + Math.round(performance.now()); } }, 5); });</script></body>"
    page.write_text(layer_page(data).replace("</body>", timer))
    path = tmp_path / piece_file(list_name(5))
    path.parent.mkdir()
    path.write_text(piece(list_name(5), listed))
    seen = visit(page, tmp_path)
    assert is_quiet(seen)
    took = re.search(r"<title>ms (\d+)</title>", seen.dom)
    assert took is not None, html.unescape(seen.dom[-500:])
    assert "28,672 features" in seen.dom
    print(json.dumps({"features": n, "milliseconds": int(took[1]), "bytes": path.stat().st_size}))
