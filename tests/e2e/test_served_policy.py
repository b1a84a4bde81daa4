"""infer and infer-with-prm with a policy behind a server."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from rewardscope.engines.client import ServerError
from rewardscope.engines.hf import HfEngine
from rewardscope.errors import ConfigError
from rewardscope.settings import Settings
from rewardscope.stages import infer, infer_with_prm
from rewardscope.storage.jsonl import read_solved
from rewardscope.storage.manifests import read_finished
from tests.contract.policy_server import PolicyServer, serving
from tests.unit.prms.tiny_prm import make_prm


@pytest.fixture(scope="module")
def server(tiny_random_policy: Path) -> Iterator[PolicyServer]:
    with serving(HfEngine(str(tiny_random_policy), device="cpu"), key="sk-1") as server:
        yield server


@pytest.fixture
def given(tiny_random_policy: Path) -> dict[str, Any]:
    return {
        "model_name": str(tiny_random_policy),
        "datasets": ("tinymath",),
        "limit": 2,
        "max_tokens": 12,
    }


def _steps(path: Path) -> list[tuple[str, ...]]:
    return [trace.steps for row in read_solved(path) for trace in row.traces]


def test_infer_gives_the_greedy_text_of_the_hf_engine_and_keeps_no_key(
    tmp_path: Path, given: dict[str, Any], server: PolicyServer
) -> None:
    settings = Settings(data_dir=tmp_path / "served", policy_api_key="sk-1")
    (served,) = infer.run(infer.Config(**given, base_url=server.url), settings)
    (here,) = infer.run(infer.Config(**given, engine="hf"), Settings(data_dir=tmp_path / "here"))
    assert _steps(served) == _steps(here)
    manifest = read_finished(served)
    assert manifest.extra["engine"] == "server" == manifest.settings["engine"]
    assert manifest.extra["server"] == {
        "model": "tiny",
        "api": "completions",
        "token_ids": "the server's",
    }
    assert not any("sk-1" in file.read_text() for file in (tmp_path / "served").iterdir())


def test_a_server_that_ends_in_the_middle_leaves_what_is_done(
    tmp_path: Path, given: dict[str, Any], server: PolicyServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("time.sleep", lambda _: None)
    settings = Settings(data_dir=tmp_path, policy_api_key="sk-1")
    config = infer.Config(**given, base_url=server.url, chunk=1, requests=1)
    real, seen = server.engine.generate, []

    def ends(*arguments: Any, **options: Any) -> Any:
        seen.append(1)
        if len(seen) == 2:  # the probe is the first, the first problem the second
            server.trouble = [500] * 5
        return real(*arguments, **options)

    monkeypatch.setattr(server.engine, "generate", ends)
    with pytest.raises(ServerError, match=r"answers 500 .*5 tries"):
        infer.run(config, settings)
    monkeypatch.setattr(server.engine, "generate", real)
    asked = len(server.asked)
    (out,) = infer.run(config, settings)
    assert len(server.asked) - asked == 2  # the probe, and the problem that was not done
    assert len(_steps(out)) == 2


def test_guided_search_goes_on_from_prefixes_as_the_hf_engine_does(
    tmp_path: Path, given: dict[str, Any], server: PolicyServer
) -> None:
    prm = str(make_prm(tmp_path / "prm"))
    search = {**given, "prm": prm, "n": 4, "width": 2, "max_steps": 3, "max_step_tokens": 8}
    settings = Settings(data_dir=tmp_path, policy_api_key="sk-1")
    (out,) = infer_with_prm.run(infer_with_prm.Config(**search, base_url=server.url), settings)
    for row in read_solved(out):
        assert row.traces and row.cost.policy_flops > 0
        for trace in row.traces:
            assert trace.scores is not None and len(trace.scores) == len(trace.steps)
            assert trace.token_ids is not None and len(trace.token_ids) == trace.n_tokens


def test_a_chat_is_asked_where_the_policy_is_no_folder_and_searches_refuse_it(
    tmp_path: Path, given: dict[str, Any], server: PolicyServer
) -> None:
    named = {**given, "model_name": "tiny", "base_url": server.url}
    settings = Settings(data_dir=tmp_path, policy_api_key="sk-1")
    (out,) = infer.run(infer.Config(**named), settings)
    [first, _] = read_solved(out)
    assert first.traces[0].answer == "7" and first.traces[0].token_ids is None
    assert first.traces[0].n_tokens == 11 == first.cost.policy_tokens
    with pytest.raises(ConfigError, match="asked by chat cannot continue a solution"):
        infer_with_prm.Config(**named)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"engine": "server"}, "--engine server and --api need --base-url"),
        ({"api": "chat"}, "--engine server and --api need --base-url"),
        ({"base_url": "http://x/v1", "engine": "hf"}, "pass one of them"),
        ({"base_url": "http://x/v1", "timeout": 0.0}, "--timeout 0.0"),
        ({"base_url": "http://x/v1", "requests": 0}, "--requests 0: at least 1"),
        (
            {"base_url": "http://x", "api": "chat", "template": Path("t")},
            "makes prompts by its own",
        ),
    ],
    ids=lambda value: "+".join(value) if isinstance(value, dict) else "",
)
def test_flags_that_do_not_go_together_are_one_line(
    given: dict[str, Any], change: dict[str, Any], message: str
) -> None:
    with pytest.raises(ConfigError, match=message):
        infer.Config(**(given | change))
