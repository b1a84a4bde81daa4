"""A small server that speaks OpenAI's API round an engine in this process, and can fail."""

import json
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from rewardscope.engines import Engine


class PolicyServer(ThreadingHTTPServer):
    """`as_vllm`: it takes and tells token ids. `trouble` holds what the next requests meet: a
    status, a body that is no JSON, or seconds to wait.
    """

    daemon_threads = True

    def __init__(self, engine: Engine, *, as_vllm: bool, key: str | None) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.engine, self.as_vllm, self.key = engine, as_vllm, key
        self.trouble: list[int | str | float] = []
        self.asked: list[dict[str, Any]] = []
        self.lock = threading.Lock()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}/v1"


class _Handler(BaseHTTPRequestHandler):
    server: PolicyServer

    def log_message(self, *_: Any) -> None:
        pass

    def do_GET(self) -> None:
        model = {"id": "tiny", "max_model_len": self.server.engine.max_positions}
        self._answer(200, {"data": [model]})

    def do_POST(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        if self.server.key and self.headers["Authorization"] != f"Bearer {self.server.key}":
            told = f"no such key: {self.headers['Authorization']}"
            return self._answer(401, {"error": {"message": told}})
        with self.server.lock:
            trouble = self.server.trouble.pop(0) if self.server.trouble else None
            self.server.asked.append(body)
        if isinstance(trouble, float):
            time.sleep(trouble)
        elif trouble is not None:
            status = trouble if isinstance(trouble, int) else 200
            return self._answer(status, trouble if isinstance(trouble, str) else {"error": "busy"})
        if self.path.endswith("/chat/completions"):
            return self._answer(200, self._chat(body))
        known = {"model", "prompt", "max_tokens", "temperature", "top_p", "seed"}
        if not self.server.as_vllm and body.keys() - known:
            return self._answer(400, {"error": {"message": "unknown field"}})
        return self._answer(200, self._completion(body))

    def _completion(self, body: dict[str, Any]) -> dict[str, Any]:
        engine = self.server.engine
        with self.server.lock:
            [[made]] = engine.generate(
                [body["prompt"]],
                n=1,
                stop=tuple(body.get("stop", ())),
                temperature=body["temperature"],
                top_p=body.get("top_p", 1.0),
                top_k=body.get("top_k", 0),
                min_p=body.get("min_p", 0.0),
                max_tokens=body["max_tokens"],
                seeds=[body.get("seed", 0)],
            )
        choice: dict[str, Any] = {
            "text": made.text,
            "finish_reason": "length" if made.finish == "length" else "stop",
        }
        if self.server.as_vllm:
            # vLLM keeps the end token among the ids, and names the string that stopped
            end = [engine.tokenizer.eos_token_id] if made.finish == "eos" else []
            stopped = next((s for s in body["stop"] if s in made.text), None)
            choice |= {"token_ids": [*made.token_ids, *end], "stop_reason": stopped}
        return {"choices": [choice]}

    def _chat(self, body: dict[str, Any]) -> dict[str, Any]:
        asked = body["messages"][-1]["content"]
        message = {"content": f"You ask: {asked}\n\nIt is \\boxed{{7}}."}
        return {
            "choices": [{"message": message, "finish_reason": "stop"}],
            "usage": {"completion_tokens": 11},
        }

    def _answer(self, status: int, told: dict[str, Any] | str) -> None:
        body = told.encode() if isinstance(told, str) else json.dumps(told).encode()
        try:
            self.send_response(status)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)
        except OSError:  # the client has gone
            pass


@contextmanager
def serving(
    engine: Engine, *, as_vllm: bool = True, key: str | None = None
) -> Iterator[PolicyServer]:
    """Serve an engine for as long as the block runs."""
    with PolicyServer(engine, as_vllm=as_vllm, key=key) as server:
        thread = threading.Thread(target=lambda: server.serve_forever(0.02), daemon=True)
        thread.start()
        try:
            yield server
        finally:
            server.shutdown()
            thread.join()
