"""The async shell: runs operations on async connections, those of each event loop apart."""

from __future__ import annotations

import asyncio
import contextlib
import contextvars
import inspect
import weakref
from collections.abc import Coroutine
from typing import Any, TypeVar

from . import context, link
from .core import Core, log
from .errors import PodiumError, ServerError
from .flights import Flights
from .local import NoTracking, tracked
from .steps import Batch, Behind, Call, Compute, Later, Operation, Tracked, Wait, Words, apart

T = TypeVar("T")


class AsyncRunner:
    """Runs operations on async connections, those of each event loop apart."""

    asynchronous = True

    def __init__(self, core: Core, client: Any = None) -> None:
        if core.address is None and client is None:
            raise TypeError("this client serves only one of Podium and AsyncPodium: it has no plain connection pool")
        self.core = core
        self.flights = Flights(asyncio.Event)
        self._given = client if core.address is None else None
        self._clients: weakref.WeakKeyDictionary[asyncio.AbstractEventLoop, Any] = weakref.WeakKeyDictionary()
        self._watched: weakref.WeakKeyDictionary[asyncio.AbstractEventLoop, tuple[int, Any]] = weakref.WeakKeyDictionary()
        self._tasks: set[asyncio.Task[Any]] = set()

    @property
    def client(self) -> Any:
        if self._given is not None:
            return self._given
        loop = asyncio.get_running_loop()
        found = self._clients.get(loop)
        if found is None:
            assert self.core.address is not None
            found = self._clients[loop] = link.connect(self.core.address, asynchronous=True)
        return found

    async def run(self, operation: Operation[T]) -> T:
        outcome: Any = None
        error: BaseException | None = None
        while True:
            try:
                step = operation.send(outcome) if error is None else operation.throw(error)
            except StopIteration as done:
                return done.value  # type: ignore[no-any-return]
            outcome = error = None
            try:
                outcome = await self.execute(step) if type(step) is tuple else await self.step(step)
            except BaseException as raised:
                error = raised

    async def step(self, step: Any) -> Any:
        if type(step) is Batch:
            return await self.batch(step)
        if type(step) is Tracked:
            return await self._tracked(step)
        if type(step) is Call:
            found = step.function(*step.args)
            return await found if inspect.isawaitable(found) else found
        if type(step) is Compute:
            mark = context.computing.set(step.work)
            try:
                return await step.function(*step.args, **step.kwargs)
            finally:
                context.computing.reset(mark)
        if type(step) is Wait:
            try:
                await asyncio.wait_for(step.event.wait(), step.seconds)
            except TimeoutError:
                return False
            return True
        if type(step) is Behind:
            self.behind(self.run(step.operation), apart())
            return None
        if type(step) is Later:
            self.behind(self._quietly(step.words))
            return None
        raise TypeError(f"no step: {step!r}")

    async def _quietly(self, words: Words) -> None:
        with contextlib.suppress(PodiumError):
            await self.execute(words)

    def behind(self, work: Coroutine[Any, Any, Any], where: contextvars.Context | None = None) -> None:
        """Goes on with something that nobody waits for."""
        task = asyncio.get_running_loop().create_task(work, context=where)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _tracked(self, step: Tracked) -> Any:
        local = self.core.local
        assert local is not None
        loop = asyncio.get_running_loop()
        watched = self._watched.get(loop)
        if watched is None or watched[0] != step.listener:
            self._watched[loop] = (step.listener, tracked(local, step.listener, True))
            if watched is not None:
                self.behind(watched[1].connection_pool.disconnect())
            watched = self._watched[loop]
        try:
            return await self.execute(step.words, watched[1])
        except NoTracking as error:
            local.refuse(error)
            return None

    async def execute(self, words: Words, client: Any = None) -> Any:
        """One command. Raises Unavailable, or the error that the server answers with."""
        core = self.core
        if core.circuit.opened_at is not None:
            core.check()
        try:
            if core.pending:
                await self._pay()
            reply = await (client or self.client).execute_command(*words)
        except core.failures.reply as error:
            raise core.refused(error) from None
        except (*core.failures.timeout, *core.failures.away) as error:
            raise core.failed(error) from error
        except core.failures.unsendable as error:
            raise ServerError(f"{type(error).__name__}: {error}", "CLIENT") from error
        if core.circuit.troubled:
            core.answered()
        return reply

    async def batch(self, batch: Batch, client: Any = None) -> list[Any]:
        core = self.core
        if core.circuit.opened_at is not None:
            core.check()
        try:
            if core.pending:
                await self._pay()
            pipe = (client or self.client).pipeline(transaction=False)
            for words in batch.commands:
                pipe.execute_command(*words)
            replies: list[Any] = await pipe.execute(raise_on_error=False)
        except core.failures.reply as error:
            raise core.refused(error) from None
        except (*core.failures.timeout, *core.failures.away) as error:
            raise core.failed(error) from error
        except core.failures.unsendable as error:
            raise ServerError(f"{type(error).__name__}: {error}", "CLIENT") from error
        if core.circuit.troubled:
            core.answered()
        return replies

    async def _pay(self) -> None:
        for key in self.core.owed():
            try:
                await self.client.execute_command("PODIUM.INVALIDATE", key)
            except self.core.failures.reply as error:
                log.warning("%s could not be invalidated: %s", key, error)
            self.core.paid(key)

    def place(self) -> int:
        """Callers of different event loops do not wait for each other."""
        return id(asyncio.get_running_loop())

    async def close(self) -> None:
        """Closes this event loop's connections. Those of a client that is used as it is are left to the application."""
        watched = self._watched.pop(asyncio.get_running_loop(), None)
        if watched is not None:
            await watched[1].connection_pool.disconnect()
        if self._given is None:
            found = self._clients.pop(asyncio.get_running_loop(), None)
            if found is not None:
                await found.connection_pool.disconnect()
