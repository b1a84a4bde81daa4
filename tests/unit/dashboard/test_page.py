import json
import re

import pytest

from rewardscope.dashboard.page import embed, index_page, layer_file, layer_page, piece, traces_page

HOSTILE = [
    "<script>alert(1)</script>",
    "</script>",
    "<!--",
    "-->",
    "]]>",
    "\u2028",
    "\u2029",
    "&lt;b&gt;",
    "{{style}}",
    '"\\',
    "\ud800",
    "$&",
]


def data_of(page: str) -> dict:
    found = re.findall(
        r'<script type="application/json" id="data">(.*?)</script>', page, flags=re.DOTALL
    )
    assert len(found) == 1
    return json.loads(found[0])


@pytest.mark.parametrize("text", HOSTILE)
def test_embedded_text_comes_back_and_holds_nothing_that_html_reads(text: str) -> None:
    embedded = embed({text: [text]})
    assert json.loads(embedded) == {text: [text]}
    assert embedded.isascii()
    assert not set("<>&") & set(embedded)


@pytest.mark.parametrize("text", HOSTILE)
def test_a_piece_is_one_call_that_no_text_can_leave(text: str) -> None:
    script = piece("layer_00/list", {text: text})
    assert script.isascii() and not set("<>&") & set(script) and script.count("\n") == 1
    assert json.loads(f"[{script[5:-3]}]") == ["layer_00/list", {text: text}]


def test_a_number_that_json_does_not_have_is_refused() -> None:
    with pytest.raises(ValueError, match="JSON"):
        embed(float("nan"))


def test_a_layer_page_holds_its_data_and_links_and_nothing_raw() -> None:
    page = layer_page({"run": "<img src=x>", "layer": 3, "layers": [1, 3], "tokens": HOSTILE})
    assert data_of(page)["tokens"] == HOSTILE
    assert "alert(1)" in page
    assert "<script>alert" not in page
    assert "<img" not in page
    assert page.count("</script>") == 2
    assert '<a href="layer_01.html">1</a><a href="layer_03.html" aria-current=page>3</a>' in page
    assert "<title>Layer 3 · &lt;img src=x&gt;</title>" in page


def test_no_page_names_anything_to_load() -> None:
    pages = [
        layer_page({"run": "r", "layer": 0, "layers": [0]}),
        index_page({"run": "r", "layers": [0], "entries": []}),
        traces_page({"run": "r", "layers": [0], "sources": [], "problems": []}),
    ]
    for page in pages:
        assert not re.search(r"\bsrc\s*=|@import|url\(|<link|fetch\(|XMLHttpRequest", page)
        assert set(re.findall(r"https?://[^\s\"'<]+", page)) <= {"http://www.w3.org/2000/svg"}
        assert "default-src 'none'" in page
        assert "script-src 'unsafe-inline' 'self' file:;" in page
        assert not re.search(r"\{\{\w+\}\}", page)
        assert "innerHTML" not in page


def test_the_name_of_a_page_is_its_layer() -> None:
    assert [layer_file(layer) for layer in (0, 7, 27)] == [
        "layer_00.html",
        "layer_07.html",
        "layer_27.html",
    ]
