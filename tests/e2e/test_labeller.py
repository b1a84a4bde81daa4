"""feature-label --labeller against a local server that answers by rule."""

import json
import re
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from rewardscope.engines.client import ServerError
from rewardscope.errors import ConfigError
from rewardscope.features.labeller import FreeText
from rewardscope.settings import Settings
from rewardscope.stages import feature_label
from rewardscope.storage.tables import read_csv_as
from tests.e2e.planted_features import NEWLINE, diff, settings_on, write_inputs

KEY = "key-that-nobody-sees"


class Labeller(ThreadingHTTPServer):
    """Knows that the feature fires on line breaks; `dies_at` is the question that it refuses."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.asked: list[str] = []
        self.dies_at: int | None = None

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}/v1"


class _Handler(BaseHTTPRequestHandler):
    server: Labeller

    def log_message(self, *_: Any) -> None:
        pass

    def do_POST(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        status, prompt = 200, body["messages"][0]["content"]
        if self.headers["Authorization"] != f"Bearer {KEY}":
            status = 401
        elif len(self.server.asked) == self.server.dies_at:
            status = 404
        else:
            self.server.asked.append(prompt)
        answer = {"choices": [{"message": {"content": _by_rule(prompt)}}]}
        content = json.dumps(answer if status == 200 else {"error": "no"}).encode()
        self.send_response(status)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)


def _by_rule(prompt: str) -> str:
    lines = re.findall(r"^\d+\. (.*)$", prompt, flags=re.MULTILINE)
    has = ["\\n" in line for line in lines]
    if "between << and >>" in prompt:
        return "line breaks"
    if "does not belong" in prompt:
        return f"[{has.index(False) + 1 if False in has else 1}]"
    return str([place for place, one in enumerate(has, start=1) if one])


@pytest.fixture
def labeller() -> Iterator[Labeller]:
    server = Labeller()
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    yield server
    server.shutdown()
    server.server_close()


@pytest.fixture(scope="module")
def inputs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_inputs(tmp_path_factory.mktemp("inputs"))


@pytest.fixture
def settings(inputs: Path, tmp_path: Path) -> Settings:
    found = settings_on(inputs, tmp_path / "data")
    return Settings(
        data_dir=found.data_dir, sae_checkpoint_dir=found.sae_checkpoint_dir, labeller_api_key=KEY
    )


def label(settings: Settings, url: str, **flags: Any) -> Path:
    config = feature_label.Config(
        ds_names=("math-rm-reasoner", "math-rm-plain"),
        sae="planted",
        device="cpu",
        layers="5",
        labeller=url,
        labeller_model="m",
        **flags,
    )
    return feature_label.run(config, settings)


def test_a_right_label_tells_contexts_apart_and_the_key_is_nowhere(
    settings: Settings, labeller: Labeller, capsys: pytest.CaptureFixture[str]
) -> None:
    diff(settings)
    folder = label(settings, labeller.url)
    [row] = read_csv_as(folder / "labels.csv", FreeText)
    assert (row.layer, row.feature, row.label) == (5, NEWLINE, "line breaks")
    assert row.detection == 1.0 and row.intruder == 1.0 and row.unread == 0
    assert row.detection_low is not None and row.detection_low > 0.5
    assert sorted(path.name for path in folder.iterdir()) == [
        "categories.csv",
        "labels.csv",
        "manifest.json",
        "shares.csv",
    ]
    assert all(KEY.encode() not in path.read_bytes() for path in folder.iterdir())
    shown = capsys.readouterr()
    assert KEY not in shown.out + shown.err and "line breaks" in shown.out


def test_a_run_that_stopped_asks_about_the_other_features_alone(
    settings: Settings, labeller: Labeller
) -> None:
    whole = read_csv_as(
        label(settings, labeller.url, name="a", label_top=3) / "labels.csv", FreeText
    )
    n_asked = len(labeller.asked)
    labeller.asked.clear()
    labeller.dies_at = n_asked - 1
    with pytest.raises(ServerError, match="answers 404"):
        label(settings, labeller.url, name="b", label_top=3)
    labeller.dies_at = None
    again = read_csv_as(
        label(settings, labeller.url, name="b", label_top=3) / "labels.csv", FreeText
    )
    assert again == whole
    assert len(labeller.asked) < 2 * n_asked - 1


def test_a_wrong_key_and_a_wrong_url_are_one_line(settings: Settings, labeller: Labeller) -> None:
    other = Settings(
        data_dir=settings.data_dir,
        sae_checkpoint_dir=settings.sae_checkpoint_dir,
        labeller_api_key="another",
    )
    with pytest.raises(ServerError, match="set LABELLER_API_KEY to a key"):
        label(other, labeller.url)
    with pytest.raises(ConfigError, match="--labeller ftp://x: pass a URL"):
        label(settings, "ftp://x")
    with pytest.raises(ConfigError, match="go together"):
        feature_label.Config(ds_names=("a",), labeller=labeller.url)
