"""What an operation may ask for. Everything but the two shells (`run`, `run_async`) says *what* is to be asked; these ask it.

An operation is a generator. It yields steps and is sent their outcome, or thrown their error. A tuple of words is a command, answered
by its reply; the other steps are the classes below."""

from __future__ import annotations

import contextvars
from collections.abc import Callable, Generator
from typing import Any, TypeVar

from . import context

T = TypeVar("T")
Words = tuple[Any, ...]


class Batch:
    """Commands that travel together. An error reply stands in its place in the list."""

    __slots__ = ("commands",)

    def __init__(self, commands: list[Words]) -> None:
        self.commands = commands


class Tracked:
    """A command over a connection that the server tells what changes (see `local`)."""

    __slots__ = ("listener", "words")

    def __init__(self, words: Words, listener: int) -> None:
        self.words = words
        self.listener = listener


class Call:
    """A function of the application's."""

    __slots__ = ("args", "function")

    def __init__(self, function: Callable[..., Any], *args: Any) -> None:
        self.function = function
        self.args = args


class Later:
    """A command whose reply nobody waits for; its failure is of no consequence."""

    __slots__ = ("words",)

    def __init__(self, words: Words) -> None:
        self.words = words


class Compute:
    """A function of the application's as a computation."""

    __slots__ = ("args", "function", "kwargs", "work")

    def __init__(self, function: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any], work: context.Work) -> None:
        self.function = function
        self.args = args
        self.kwargs = kwargs
        self.work = work


class Wait:
    """Until the event is set, at most `seconds`."""

    __slots__ = ("event", "seconds")

    def __init__(self, event: Any, seconds: float) -> None:
        self.event = event
        self.seconds = seconds


class Behind:
    """An operation for which nobody waits, outside of the request that began it."""

    __slots__ = ("operation",)

    def __init__(self, operation: Generator[Any, Any, Any]) -> None:
        self.operation = operation


Operation = Generator[Any, Any, T]


def apart() -> contextvars.Context:
    """This context without the request, and the computation, that it is part of."""
    found = contextvars.copy_context()
    for variable in (context.computing, context.trace, context.policy):
        found.run(variable.set, None)
    return found
