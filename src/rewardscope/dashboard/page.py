"""Pages that open from disk: templates with their style, script and data inlined. Nothing is
fetched.

Text of models is data: it reaches a page only as escaped JSON, and the scripts show it as text
nodes. A content security policy without any source makes the browser refuse whatever might still
try to load.
"""

import html
import json
import re
from pathlib import Path
from typing import Any

TEMPLATES = Path(__file__).parent / "templates"
_CURRENT = " aria-current=page"
INDEX = "index.html"


def embed(value: Any) -> str:
    """Return JSON that is safe inside a script element: no <, >, & and nothing outside ASCII, so no
    end tag, comment or U+2028.
    """
    text = json.dumps(value, ensure_ascii=True, allow_nan=False, separators=(",", ":"))
    return text.replace("<", "\\u003c").replace(">", "\\u003e").replace("&", "\\u0026")


def layer_file(layer: int) -> str:
    """Return the name of a layer's page."""
    return f"layer_{layer:02d}.html"


def layer_page(data: dict[str, Any]) -> str:
    """Return the page of one layer;

    `data` has run, layer and layers beside the values of `layer_data`.
    """
    links = [
        f'<a href="{layer_file(layer)}"{_CURRENT if layer == data["layer"] else ""}>{layer}</a>'
        for layer in data["layers"]
    ]
    return _fill(
        "layer.html",
        script="layer.js",
        data=data,
        title=f"Layer {data['layer']} · {data['run']}",
        run=data["run"],
        links=links,
    )


def index_page(data: dict[str, Any]) -> str:
    """Return the page that leads to the layers;

    `data` has run, layers and one entry of numbers a layer.
    """
    links = [f'<a href="{layer_file(layer)}">{layer}</a>' for layer in data["layers"]]
    return _fill(
        "index.html",
        script="index.js",
        data=data,
        title=f"SAE features · {data['run']}",
        run=data["run"],
        links=links,
    )


def _fill(
    name: str, *, script: str, data: dict[str, Any], title: str, run: str, links: list[str]
) -> str:
    """Put the pieces in their places in one pass, so that no piece is read as a template."""
    pieces = {
        "title": html.escape(title),
        "run": html.escape(run),
        "links": "".join(links),
        "data": embed(data),
        "style": _read("style.css"),
        "script": f"{_read('common.js')}\n{_read(script)}",
    }
    return re.sub(
        r"\{\{(\w+)\}\}",
        lambda match: pieces[match[1]],
        _read("frame.html").replace("{{page}}", _read(name)),
    )


def _read(name: str) -> str:
    return (TEMPLATES / name).read_text(encoding="utf-8")
