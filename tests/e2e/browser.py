"""Chromium on a page from disk: what it shows, what it says, and what it asks the network for."""

import json
import re
import shutil
import subprocess
from pathlib import Path
from typing import NamedTuple

import pytest

needs_chromium = pytest.mark.skipif(shutil.which("chromium") is None, reason="needs chromium")
_CONSOLE = re.compile(r"CONSOLE[:(].*")
_BROWSER = "not an origin"  # who asks for what a page did not ask for


class Visit(NamedTuple):
    """What a browser made of a page."""

    dom: str
    console: list[str]
    requests: list[str]


def visit(page: Path, home: Path, *, hash: str = "", query: str = "", width: int = 1280) -> Visit:
    """Open a page and wait for its scripts; `home` takes the profile and the log of requests."""
    log = home / "net.json"
    command = [
        "chromium",
        "--headless",
        "--no-sandbox",
        "--disable-gpu",
        "--disable-background-networking",
        "--disable-component-update",
        f"--user-data-dir={home / 'profile'}",
        f"--window-size={width},900",
        "--enable-logging=stderr",
        f"--log-net-log={log}",
        "--virtual-time-budget=8000",
        "--dump-dom",
        f"file://{page}{query}{hash}",
    ]
    done = subprocess.run(command, capture_output=True, text=True, check=True, timeout=120)
    return Visit(done.stdout, _CONSOLE.findall(done.stderr), _requests(log))


def _requests(log: Path) -> list[str]:
    """Return the addresses that pages asked for, files left out."""
    text = log.read_text(encoding="utf-8")
    events = json.loads(text if text.rstrip().endswith("}") else text.rstrip().rstrip(",") + "]}")
    asked = [event["params"] for event in events["events"] if "url" in event.get("params", {})]
    return sorted(
        {
            one["url"]
            for one in asked
            if one["url"].startswith(("http", "ws")) and one.get("initiator", _BROWSER) != _BROWSER
        }
    )
