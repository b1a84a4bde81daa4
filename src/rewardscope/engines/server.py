"""Generate with a policy behind a server that speaks OpenAI's API.

One request a sample, so that a sample depends on its own seed alone. Completions continue token ids
that the policy's own tokenizer made.
"""

from collections.abc import Sequence
from typing import Any, NamedTuple, final

from transformers import PreTrainedTokenizerBase

from rewardscope.engines import Engine, Server
from rewardscope.engines.chat import ChatEngine
from rewardscope.engines.client import Client, RefusedRequest, ServerError, at_once, check_url
from rewardscope.engines.completions import Detokenizer, StopFinder, check_prompts, end_token_ids
from rewardscope.engines.requests import Sample, Sampling, grouped, samples_of, served_model
from rewardscope.log import get_logger
from rewardscope.models.blocks import shape_of
from rewardscope.models.flops import flops_of
from rewardscope.models.load import load_config, load_tokenizer
from rewardscope.records import Completion, Finish


class _Way(NamedTuple):
    """What a server takes."""

    ids: bool
    """Prompts as token ids, not as text."""
    extras: bool
    """What vLLM adds to the API."""


@final
class CompletionsEngine:
    """Ask `/completions`. Where the server tells the token ids, they are kept; else its text is
    tokenised again, and stop strings are looked for here.
    """

    def __init__(self, model: str, *, client: Client, most: int) -> None:
        self.tokenizer: PreTrainedTokenizerBase = load_tokenizer(model)
        config = load_config(model)
        self.flops = flops_of(config)
        self._client, self._most = client, most
        self._detokenizer = Detokenizer(self.tokenizer)
        self._ends = end_token_ids(model, self.tokenizer)
        self.served, longest = served_model(client, model)
        self.max_positions = min(shape_of(config).window, longest)
        self._way, self.tells_ids = self._find_way()

    def generate(
        self,
        prompts: Sequence[Sequence[int]],
        *,
        n: int,
        stop: tuple[str, ...],
        temperature: float,
        top_p: float,
        max_tokens: int,
        seeds: Sequence[int],
        top_k: int = 0,
        min_p: float = 0.0,
        reuse: bool = False,
    ) -> list[list[Completion]]:
        """Return `n` completions for each prompt, in order; see `Engine.generate`. What the server
        keeps for later calls is its own affair.
        """
        del reuse
        check_prompts(prompts, max_positions=self.max_positions)
        how = Sampling(stop, temperature, top_p, top_k, min_p, max_tokens)
        finder = StopFinder(self._detokenizer, stop)
        samples = n if temperature > 0 else 1  # greedy samples are all the same

        def complete(sample: Sample) -> Completion:
            return self._complete(sample, how, finder)

        done = at_once(complete, samples_of(prompts, seeds, samples), most=self._most)
        return grouped(done, samples=samples, n=n)

    def _complete(self, sample: Sample, how: Sampling, finder: StopFinder) -> Completion:
        room = min(how.max_tokens, self.max_positions - len(sample.prompt))
        body = self._body(sample, self._way, stop=how.stop, max_tokens=room)
        return self._client.post(
            "/completions",
            how.body(sample.seed) | body,
            lambda told: self._read(sample.prompt, told["choices"][0], finder),
        )

    def _body(
        self, sample: Sample, way: _Way, *, stop: Sequence[str], max_tokens: int
    ) -> dict[str, Any]:
        prompt = list(sample.prompt)
        shown = prompt if way.ids else self.tokenizer.decode(prompt, skip_special_tokens=False)
        extras = {
            "return_token_ids": True,
            "include_stop_str_in_output": True,
            "skip_special_tokens": False,
            "stop_token_ids": sorted(self._ends),
            "repetition_penalty": 1.0,  # a server may have defaults of its own for these
            "top_k": 0,
            "min_p": 0.0,
            "stop": list(stop),
        }
        return {
            **(extras if way.extras else {}),
            "model": self.served,
            "prompt": shown,
            "max_tokens": max_tokens,
        }

    def _read(
        self, prompt: Sequence[int], choice: dict[str, Any], finder: StopFinder
    ) -> Completion:
        """Return a choice as a completion. Raises: KeyError, TypeError where it is none."""
        reason, ids = choice["finish_reason"], choice.get("token_ids")
        if reason not in ("stop", "length"):
            raise ServerError(f"the server ended a text for the reason {reason!r}")
        finish: Finish = "length" if reason == "length" else "eos"
        if ids is not None:
            if finish == "eos" and isinstance(choice.get("stop_reason"), str):
                finish = "stop"
            elif finish == "eos" and ids and ids[-1] in self._ends:
                ids = ids[:-1]
            return self._detokenizer.completion(prompt, ids, finish=finish)
        text: str = choice["text"]
        ids = self.tokenizer(text, add_special_tokens=False)["input_ids"]
        for end in range(1, len(ids) + 1):
            if finder.completes(prompt, ids[:end]):
                return self._detokenizer.completion(prompt, ids[:end], finish="stop")
        return Completion(text=text, token_ids=tuple(ids), finish=finish)

    def _find_way(self) -> tuple[_Way, bool]:
        """Find by a request of one token what the server takes, and whether it tells token ids;
        say what it does not.
        """
        sample = Sample(self.tokenizer("1", add_special_tokens=False)["input_ids"], 0)
        refused = None
        for way in (_Way(True, True), _Way(True, False), _Way(False, False)):
            try:
                tells = self._client.post(
                    "/completions",
                    self._body(sample, way, stop=(), max_tokens=1) | {"temperature": 0},
                    lambda told: told["choices"][0].get("token_ids") is not None,
                )
            except RefusedRequest as error:
                refused = error
                continue
            if not tells:
                # the fields are taken, but what they ask for is not done
                way = _Way(way.ids, extras=False)
                get_logger().warning(
                    f"{self._client.base_url} tells no token ids; its texts are tokenised"
                    " again, which may give other tokens, and stop strings are looked for here"
                )
            if not way.ids:
                get_logger().warning(
                    f"{self._client.base_url} takes no token ids; prompts are sent as text"
                )
            return way, tells
        raise ServerError(f"{refused}; pass --api chat if it serves no completions")


def load_server_engine(model: str, server: Server) -> Engine:
    """Return the engine of a policy behind a server. Raises: ServerError, ConfigError,
    MissingInput.
    """
    client = Client(
        base_url=check_url(server.base_url), timeout=server.timeout, api_key=server.api_key
    )
    kind = ChatEngine if server.api == "chat" else CompletionsEngine
    return kind(model, client=client, most=server.at_once)


def served_record(engine: Engine) -> dict[str, Any]:
    """Return what a manifest says of a policy behind a server."""
    if not isinstance(engine, ChatEngine | CompletionsEngine):
        return {}
    api = "chat" if isinstance(engine, ChatEngine) else "completions"
    ids = {True: "the server's", False: "tokenised again", None: "unknown"}[engine.tells_ids]
    return {"server": {"model": engine.served, "api": api, "token_ids": ids}}
