"""Pages that open from disk: templates with their style, script and data inlined, and pieces of
data beside them that a page loads when it shows them. Nothing comes from a network.

Text of models is data: it reaches a page only as escaped JSON, and the scripts show it as text
nodes. A content security policy lets a page load scripts of its own folder and nothing else.
"""

import html
import json
import re
from pathlib import Path
from typing import Any

TEMPLATES = Path(__file__).parent / "templates"
_CURRENT = " aria-current=page"
INDEX, TRACES, COMPARE = "index.html", "traces.html", "compare.html"


def embed(value: Any) -> str:
    """Return JSON that is safe inside a script element: no <, >, & and nothing outside ASCII, so no
    end tag, comment or U+2028.
    """
    text = json.dumps(value, ensure_ascii=True, allow_nan=False, separators=(",", ":"))
    return text.replace("<", "\\u003c").replace(">", "\\u003e").replace("&", "\\u0026")


def piece(name: str, value: Any) -> str:
    """Return the script that hands a piece of data to the page that asked for it.

    A page that opens from disk may not fetch a file, but it may load a script.
    """
    return f"take({embed(name)},{embed(value)});\n"


def piece_file(name: str) -> str:
    """Return the name of a piece's file, below the folder of the pages."""
    return f"{name}.js"


def layer_name(layer: int) -> str:
    return f"layer_{layer:02d}"


def layer_file(layer: int) -> str:
    """Return the name of a layer's page."""
    return f"{layer_name(layer)}.html"


def list_name(layer: int) -> str:
    """Return the name of the piece that lists a layer's features."""
    return f"{layer_name(layer)}/list"


def cards_name(layer: int, number: int) -> str:
    """Return the name of a piece with the cards of some features."""
    return f"{layer_name(layer)}/{number:04d}"


def traces_name(number: int) -> str:
    """Return the name of a piece with the traces of some problems."""
    return f"traces/{number:04d}"


def trace_firings_name(layer: int, number: int) -> str:
    """Return the name of a piece with a layer's firings on the traces of some problems."""
    return f"{layer_name(layer)}/traces_{number:04d}"


def layer_page(data: dict[str, Any]) -> str:
    """Return the page of one layer;

    `data` has run, layer and layers beside the numbers of the layer, and traces, whether there is a
    trace viewer.
    """
    links = _links(data, current=data["layer"])
    title = f"Layer {data['layer']} · {data['run']}"
    scripts = ("features.js", "panels.js", "map.js", "layer.js")
    return _fill("layer.html", scripts=scripts, data=data, title=title, links=links)


def index_page(data: dict[str, Any]) -> str:
    """Return the page that leads to the layers;

    `data` has run, layers, traces and one entry of numbers a layer.
    """
    title = f"SAE features · {data['run']}"
    scripts = ("features.js", "index.js")
    return _fill("index.html", scripts=scripts, data=data, title=title, links=_links(data))


def traces_page(data: dict[str, Any]) -> str:
    """Return the trace viewer; `data` has run, layers, sources and a list of problems."""
    title = f"Traces · {data['run']}"
    scripts = ("features.js", "steps.js", "tree.js", "traces.js")
    links = _links(data | {"traces": True}, current=TRACES)
    return _fill("traces.html", scripts=scripts, data=data, title=title, links=links)


def compare_page(data: dict[str, Any]) -> str:
    """Return the page that sets two PRMs or two policies side by side; `data` as of `traces_page`,
    with sides and how far they are apart.
    """
    title = f"Comparison · {data['run']}"
    links = _links(data, current=COMPARE)
    scripts = ("steps.js", "compare.js")
    return _fill("compare.html", scripts=scripts, data=data, title=title, links=links)


def _links(data: dict[str, Any], *, current: int | str | None = None) -> str:
    """Return the links to the layers and, where they are there, to the traces and comparison."""
    layers = "".join(
        f'<a href="{layer_file(layer)}"{_CURRENT if layer == current else ""}>{layer}</a>'
        for layer in data["layers"]
    )
    traces = f'<a href="{TRACES}"{_CURRENT if current == TRACES else ""}>traces</a>'
    compare = f'<a href="{COMPARE}"{_CURRENT if current == COMPARE else ""}>compare</a>'
    return (
        layers + (traces if data.get("traces") else "") + (compare if data.get("compare") else "")
    )


def _fill(
    name: str, *, scripts: tuple[str, ...], data: dict[str, Any], title: str, links: str
) -> str:
    """Put the pieces in their places in one pass, so that no piece is read as a template."""
    pieces = {
        "title": html.escape(title),
        "run": html.escape(data["run"]),
        "links": links,
        "data": embed(data),
        "style": _read("style.css"),
        "script": "\n".join(_read(script) for script in ("common.js", *scripts)),
    }
    return re.sub(
        r"\{\{(\w+)\}\}",
        lambda match: pieces[match[1]],
        _read("frame.html").replace("{{page}}", _read(name)),
    )


def _read(name: str) -> str:
    return (TEMPLATES / name).read_text(encoding="utf-8")
