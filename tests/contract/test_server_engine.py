"""A policy behind a server: the same text as in this process, and failures in one line each."""

import socket
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from rewardscope.engines.chat import ChatEngine
from rewardscope.engines.client import Client, ServerError, at_once, check_url
from rewardscope.engines.hf import HfEngine
from rewardscope.engines.requests import Sample
from rewardscope.engines.server import CompletionsEngine
from rewardscope.errors import ConfigError
from rewardscope.problems.prompts import PromptForm, encode_prompt
from tests.contract.engine_contract import GREEDY, SAMPLING, EngineContract, prompts_of
from tests.contract.policy_server import PolicyServer, serving


@pytest.fixture(scope="module")
def hf(tiny_random_policy: Path) -> HfEngine:
    return HfEngine(str(tiny_random_policy), device="cpu")


@pytest.fixture(scope="module")
def server(hf: HfEngine) -> Iterator[PolicyServer]:
    with serving(hf) as server:
        yield server


@pytest.fixture(autouse=True)
def _calm(server: PolicyServer) -> None:
    server.trouble, server.asked = [], []


def _client(server: PolicyServer, **changes: Any) -> Client:
    given = {"base_url": server.url, "timeout": 30.0, "tries": 3, "first_wait": 0.0}
    return Client(**(given | changes))


@pytest.fixture(scope="module")
def engine(server: PolicyServer, tiny_random_policy: Path) -> CompletionsEngine:
    return CompletionsEngine(str(tiny_random_policy), client=_client(server), most=4)


class TestServerEngine:
    """The part of the contract that does not draw thousands of samples."""

    test_order = EngineContract.test_there_are_n_completions_for_each_prompt_in_order
    test_no_prompts = EngineContract.test_no_prompts_give_no_completions
    test_greedy_samples = EngineContract.test_greedy_samples_are_all_the_same
    test_positions = EngineContract.test_prompt_and_completion_stay_within_the_positions
    test_too_long = EngineContract.test_a_prompt_that_fills_the_positions_is_refused
    test_tokenizer = EngineContract.test_the_tokenizer_is_the_policys_own


@pytest.mark.parametrize("stop", [(), (" is", "T", "\n\n", "2")])
@pytest.mark.parametrize("as_vllm", [True, False])
def test_greedy_text_is_that_of_the_hf_engine(
    hf: HfEngine, tiny_random_policy: Path, stop: tuple[str, ...], as_vllm: bool
) -> None:
    prompts = prompts_of(hf)
    with serving(hf, as_vllm=as_vllm) as server:
        engine = CompletionsEngine(str(tiny_random_policy), client=_client(server), most=4)
        assert engine.tells_ids is as_vllm
        options = {**GREEDY, "stop": stop, "max_tokens": 30, "seeds": [0] * len(prompts)}
        ours, theirs = hf.generate(prompts, **options), engine.generate(prompts, **options)
    assert [row[0].text for row in theirs] == [row[0].text for row in ours]
    assert [row[0].finish for row in theirs] == [row[0].finish for row in ours]
    if as_vllm:
        assert theirs == ours
        assert {"top_k": 0, "repetition_penalty": 1.0}.items() <= server.asked[-1].items()


def test_text_that_is_tokenised_again_is_said(
    hf: HfEngine, tiny_random_policy: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with serving(hf, as_vllm=False) as server, caplog.at_level("WARNING", "rewardscope"):
        CompletionsEngine(str(tiny_random_policy), client=_client(server), most=1)
        assert "tells no token ids; its texts are tokenised again" in caplog.text


def test_a_request_that_fails_at_first_gives_the_same_text(
    engine: CompletionsEngine, server: PolicyServer
) -> None:
    prompts = prompts_of(engine)
    calm = engine.generate(prompts, n=2, seeds=range(5), **SAMPLING)
    server.trouble = [500, "no JSON", 429, '{"choices": []}', 503]
    assert engine.generate(prompts, n=2, seeds=range(5), **SAMPLING) == calm


@pytest.mark.parametrize(
    ("trouble", "message"),
    [
        ([500] * 3, r"/completions answers 500 \(busy\) \(3 tries\)"),
        (["<html>"] * 3, r"answers with what is no completion \(<html>\)"),
        (['{"choices": [{"text": 3}]}'] * 3, "answers with what is no completion"),
        (['{"choices": [{"finish_reason": "abort"}]}'], "ended a text for the reason 'abort'"),
        ([404], "answers 404 .*; check --base-url, --model-name and --api"),
        ([307], "answers 307"),
        ([0.5] * 3, r"did not answer within 0\.1 s \(3 tries\)"),
    ],
    ids=["500", "html", "no choice", "abort", "404", "redirect", "timeout"],
)
def test_a_server_that_fails_is_one_line(
    engine: CompletionsEngine, server: PolicyServer, trouble: list, message: str
) -> None:
    quick = isinstance(trouble[0], float)
    client = _client(server, timeout=0.1) if quick else engine._client
    server.trouble = trouble
    with pytest.raises(ServerError, match=message) as error:
        client.post(
            "/completions",
            engine._body(_one(engine), engine._way, stop=(), max_tokens=1) | {"temperature": 0},
            lambda told: engine._read([], told["choices"][0], None),  # type: ignore[arg-type]
        )
    assert "\n" not in str(error.value)


def _one(engine: CompletionsEngine) -> Any:
    return Sample(prompts_of(engine)[0], 0)


def test_nobody_at_the_address_is_one_line(tiny_random_policy: Path) -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    client = Client(base_url=f"http://127.0.0.1:{port}/v1", timeout=5.0, tries=2, first_wait=0.0)
    with pytest.raises(ServerError, match=r"/models cannot be reached \(.*refused"):
        CompletionsEngine(str(tiny_random_policy), client=client, most=1)


def test_a_key_is_sent_and_never_shown(hf: HfEngine, tiny_random_policy: Path) -> None:
    with serving(hf, key="sk-right") as server:
        client = _client(server, api_key="sk-right")
        assert "sk-right" not in repr(client)
        CompletionsEngine(str(tiny_random_policy), client=client, most=1)
        wrong = _client(server, api_key="sk-wrong")
        with pytest.raises(ServerError, match=r"401 .*; set POLICY_API_KEY") as error:
            CompletionsEngine(str(tiny_random_policy), client=wrong, most=1)
        assert "sk-wrong" not in str(error.value) and "***" in str(error.value)


@pytest.mark.parametrize(
    "url", ["localhost:8000", "ftp://x/v1", "http://me:secret@x/v1", "http://x/v1?key=secret"]
)
def test_a_url_that_is_none_or_holds_a_secret_is_refused(url: str) -> None:
    with pytest.raises(ConfigError) as error:
        check_url(url)
    assert "secret" not in str(error.value)


def test_a_url_has_its_version() -> None:
    assert check_url("http://x:8000/") == "http://x:8000/v1" == check_url("http://x:8000/v1/")


def test_a_chat_is_shown_the_turns_and_its_tokens_are_counted_alone(server: PolicyServer) -> None:
    engine = ChatEngine("gpt", client=_client(server), most=2)
    form = PromptForm(system='Be "brief".', prompt="{question}\n\u00e9")
    prompt = encode_prompt(engine.tokenizer, "3 + 4?", form)
    options = {**SAMPLING, "top_k": 5}
    [[one, two]] = engine.generate([prompt], n=2, seeds=[1], **options)
    first, second = server.asked
    assert first["messages"] == [
        {"role": "system", "content": 'Be "brief".'},
        {"role": "user", "content": "3 + 4?\n\u00e9"},
    ]
    assert first["seed"] != second["seed"] and first["top_k"] == 5 and "min_p" not in first
    assert one == two and one.text.endswith("\\boxed{7}.")
    assert (one.token_ids, one.n_tokens, one.finish) == ((), 11, "eos")


def test_work_is_done_in_order_and_the_first_error_ends_it() -> None:
    assert at_once(lambda x: x * x, range(50), most=7) == [x * x for x in range(50)]
    with pytest.raises(ZeroDivisionError):
        at_once(lambda x: 1 // x, [1, 0, 1], most=2)
