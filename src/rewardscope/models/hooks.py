"""Look into a model while it runs, and change what it computes.

Every hook of the project is set here and removed when its context ends.
"""

from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from typing import Any, Literal, NamedTuple

from torch import Tensor, nn


class Hook(NamedTuple):
    """A look at what goes into or comes out of a module."""

    module: nn.Module
    side: Literal["input", "output"]
    look: Callable[[Tensor], Tensor | None]
    """Called with the module's first tensor; what it returns, unless None, takes its place."""


class Call(NamedTuple):
    """One call of a module."""

    module: nn.Module
    given: Tensor | None
    """Its first argument, where that is a tensor."""
    result: Tensor | None
    """Its result, the first of several, where that is a tensor."""
    is_tuple: bool = False
    """Whether it gave several results."""


class Enough(Exception):
    """Raised by a look that needs no more of the forward pass."""


@contextmanager
def hooked(hooks: Sequence[Hook]) -> Iterator[None]:
    """Set hooks, those of one module in their order; a look that raises `Enough` ends the body."""
    with ExitStack() as handles:
        for hook in hooks:
            handles.callback(_set(hook).remove)
        with suppress(Enough):
            yield


@contextmanager
def recorded(modules: Sequence[nn.Module]) -> Iterator[list[Call]]:
    """Yield a list that gets each call of these modules, in the order in which they return.

    Tensors are not copied, so one that the model writes over later shows what was written.
    """
    calls: list[Call] = []

    def note(module: nn.Module, given: tuple[Any, ...], named: dict[str, Any], out: Any) -> None:
        first = given[0] if given else named.get("hidden_states")
        calls.append(Call(module, _tensor(first), _tensor(out), isinstance(out, tuple)))

    with ExitStack() as handles:
        for module in modules:
            handles.callback(module.register_forward_hook(note, with_kwargs=True).remove)
        yield calls


@contextmanager
def skipped(modules: Sequence[nn.Module], *, as_tuple: bool) -> Iterator[None]:
    """Let modules give back their first argument and compute nothing; `as_tuple` where they give
    several results.
    """

    def passed(given: Tensor | None = None, *_: Any, **named: Any) -> Any:
        first = named["hidden_states"] if given is None else given
        return (first,) if as_tuple else first

    for module in modules:
        module.forward = passed
    try:
        yield
    finally:
        for module in modules:
            del module.forward


def _set(hook: Hook) -> Any:
    def output(_module: nn.Module, _given: Any, out: Any) -> Any:
        new = hook.look(out[0] if isinstance(out, tuple) else out)
        if new is None:
            return None
        return (new, *out[1:]) if isinstance(out, tuple) else new

    def given(_module: nn.Module, given: tuple[Any, ...], named: dict[str, Any]) -> Any:
        new = hook.look(given[0] if given else named["hidden_states"])
        if new is None:
            return None
        return ((new, *given[1:]), named) if given else (given, {**named, "hidden_states": new})

    if hook.side == "output":
        return hook.module.register_forward_hook(output)
    return hook.module.register_forward_pre_hook(given, with_kwargs=True)


def _tensor(value: Any) -> Tensor | None:
    first = value[0] if isinstance(value, tuple) and value else value
    return first if isinstance(first, Tensor) else None
