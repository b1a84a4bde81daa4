"""Ask a server that speaks OpenAI's API: JSON requests, tried again where that can help.

The key goes into one header and nowhere else: no message holds it, and redirects are not followed.
"""

import http.client
import json
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, TypeVar, final
from urllib.parse import urlsplit

from rewardscope.errors import ConfigError, PipelineError

Item = TypeVar("Item")
Answer = TypeVar("Answer")
KEY_VARIABLE = "POLICY_API_KEY"
_AGAIN = frozenset({408, 425, 429, 500, 502, 503, 504})  # statuses that pass by themselves
_FIRST_WAIT, _LONGEST_WAIT = 0.5, 30.0  # seconds


class ServerError(PipelineError):
    """A server does not answer, or not as it should."""


class RefusedRequest(ServerError):
    """The server takes no such request (400 or 422)."""


class _Passing(Exception):
    """What may be over at the next try."""

    def __init__(self, what: str, *, after: float = 0.0) -> None:
        super().__init__(what)
        self.after = after


class _NoRedirect(urllib.request.HTTPRedirectHandler):
    """Leave a redirect an error: it would take the key elsewhere."""

    def redirect_request(self, *_: Any, **__: Any) -> None:
        return None


def check_url(url: str, *, flag: str = "--base-url", key_variable: str = KEY_VARIABLE) -> str:
    """Return a base URL with its version, without a slash at the end.

    Raises: ConfigError where it is no URL of a server, or holds a password or a query.
    """
    parts = urlsplit(url)
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise ConfigError(f"{flag} {url}: pass a URL such as http://localhost:8000/v1")
    if parts.username or parts.password or parts.query or parts.fragment:
        raise ConfigError(
            f"{flag} of {parts.hostname}: a URL is kept with results, so it must hold neither"
            f" a name, a password nor a query; set {key_variable}"
        )
    path = parts.path.rstrip("/") or "/v1"
    return f"{parts.scheme}://{parts.netloc}{path}"


@final
@dataclass(frozen=True, kw_only=True)
class Client:
    """Requests to one server. A request is tried `tries` times and may take `timeout` seconds."""

    base_url: str
    timeout: float
    api_key: str | None = field(default=None, repr=False)
    tries: int = 5
    first_wait: float = _FIRST_WAIT
    key_variable: str = KEY_VARIABLE
    flags: str = "--base-url, --model-name and --api"
    """What to look at where the server refuses."""

    def get(self, path: str, read: Callable[[Any], Answer]) -> Answer:
        """Return what `read` makes of the answer. Raises: ServerError."""
        return self._ask(path, None, read)

    def post(self, path: str, body: dict[str, Any], read: Callable[[Any], Answer]) -> Answer:
        """Return what `read` makes of the answer. Raises: ServerError."""
        return self._ask(path, json.dumps(body).encode(), read)

    def _ask(self, path: str, body: bytes | None, read: Callable[[Any], Answer]) -> Answer:
        failed: _Passing | None = None
        for number in range(self.tries):
            if failed:
                wait = min(self.first_wait * 2 ** (number - 1), _LONGEST_WAIT)
                time.sleep(max(wait, failed.after))
            try:
                return self._once(path, body, read)
            except _Passing as error:
                failed = error
        raise ServerError(
            f"{self.base_url}{path} {failed} ({self.tries} tries); once it does, the same command"
            " goes on"
        )

    def _once(self, path: str, body: bytes | None, read: Callable[[Any], Answer]) -> Answer:
        headers = {"Content-Type": "application/json", "User-Agent": "rewardscope"}
        if self.api_key:
            headers["Authorization"] = f"Bearer {self.api_key}"
        request = urllib.request.Request(f"{self.base_url}{path}", data=body, headers=headers)
        try:
            with _OPENER.open(request, timeout=self.timeout) as answer:
                text = answer.read()
        except urllib.error.HTTPError as error:
            with error:
                raise self._refusal(path, error) from None
        except (OSError, http.client.HTTPException) as error:
            raise _Passing(self._trouble(error)) from None
        try:
            return read(json.loads(text))
        except (ValueError, KeyError, IndexError, TypeError, AttributeError):
            raise _Passing(f"answers with what is no completion ({self._start(text)})") from None

    def _refusal(self, path: str, error: urllib.error.HTTPError) -> Exception:
        """Return the error of a status: one that passes, or one that says what to do."""
        try:
            said = error.read()
        except (OSError, http.client.HTTPException):
            said = b""
        if error.code in _AGAIN:
            after = error.headers.get("Retry-After", "")
            return _Passing(
                f"answers {error.code} ({_reason(said, self.api_key)})",
                after=min(float(after), _LONGEST_WAIT) if after.isdigit() else 0.0,
            )
        where = f"{self.base_url}{path} answers {error.code} ({_reason(said, self.api_key)})"
        if error.code in (401, 403):
            return ServerError(f"{where}; set {self.key_variable} to a key that it takes")
        if error.code in (400, 422):
            return RefusedRequest(where)
        return ServerError(f"{where}; check {self.flags}")

    def _trouble(self, error: Exception) -> str:
        cause = error.reason if isinstance(error, urllib.error.URLError) else error
        if isinstance(cause, TimeoutError):
            return f"did not answer within {self.timeout:g} s"
        return f"cannot be reached ({' '.join(str(cause).split()) or type(cause).__name__})"

    def _start(self, text: bytes) -> str:
        shown = _redacted(" ".join(text.decode(errors="replace").split()), self.api_key)
        return f"{shown[:80]}..." if len(shown) > 80 else shown or "nothing"


_OPENER = urllib.request.build_opener(_NoRedirect)


def _reason(said: bytes, key: str | None) -> str:
    """Return what a server says is wrong, in one line."""
    text = said.decode(errors="replace")
    try:
        told = json.loads(text)
        inner = told.get("error", told)
        found = inner.get("message") or inner.get("detail") if isinstance(inner, dict) else inner
        text = str(found or text)
    except (ValueError, AttributeError):
        pass
    line = _redacted(" ".join(text.split()), key)
    return f"{line[:200]}..." if len(line) > 200 else line or "no reason given"


def _redacted(text: str, key: str | None) -> str:
    return text.replace(key, "***") if key else text


def at_once(work: Callable[[Item], Answer], items: Sequence[Item], *, most: int) -> list[Answer]:
    """Return what `work` gives for each item, in order, `most` of them at a time.

    The first error ends all. Threads do not outlive the process, so that a request under way holds
    up neither Ctrl-C nor an error.
    """
    found: dict[int, Answer] = {}
    errors: list[BaseException] = []
    waiting, lock = iter(enumerate(items)), threading.Lock()

    def take_turns() -> None:
        while not errors:
            with lock:
                index, item = next(waiting, (-1, None))
            if index < 0 or item is None:
                return
            try:
                found[index] = work(item)
            except BaseException as error:
                errors.append(error)

    threads = [
        threading.Thread(target=take_turns, daemon=True) for _ in range(min(most, len(items)))
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        while thread.is_alive() and not errors:
            thread.join(timeout=0.1)
    if errors:
        raise errors[0]
    return [found[index] for index in range(len(items))]
