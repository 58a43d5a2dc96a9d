"""The sync shell: runs operations on sync connections. `run_async` differs in `await`, and in keeping event loops apart."""

from __future__ import annotations

import contextlib
import threading
from typing import TYPE_CHECKING, Any, TypeVar

from . import context, forks, link
from .core import Core, log
from .errors import PodiumError, ServerError
from .flights import Flights
from .local import NoTracking, tracked
from .steps import Batch, Behind, Call, Compute, Later, Operation, Tracked, Wait, Words, apart

if TYPE_CHECKING:
    from concurrent.futures import ThreadPoolExecutor

T = TypeVar("T")


class Runner:
    """Runs operations on sync connections."""

    asynchronous = False

    def __init__(self, core: Core, client: Any = None) -> None:
        if core.address is None and client is None:
            raise TypeError("this client serves only one of Podium and AsyncPodium: it has no plain connection pool")
        self.core = core
        self.flights = Flights(threading.Event)
        self._client = client if core.address is None else link.connect(core.address, asynchronous=False)
        self._watched: tuple[int, Any] | None = None
        self._workers: ThreadPoolExecutor | None = None
        forks.register(self)

    def after_fork(self) -> None:
        self._workers = None
        self._watched = None

    @property
    def client(self) -> Any:
        return self._client

    def run(self, operation: Operation[T]) -> T:
        outcome: Any = None
        error: BaseException | None = None
        while True:
            try:
                step = operation.send(outcome) if error is None else operation.throw(error)
            except StopIteration as done:
                return done.value  # type: ignore[no-any-return]
            outcome = error = None
            try:
                outcome = self.execute(step) if type(step) is tuple else self.step(step)
            except BaseException as raised:
                error = raised

    def step(self, step: Any) -> Any:
        if type(step) is Batch:
            return self.batch(step)
        if type(step) is Tracked:
            return self._tracked(step)
        if type(step) is Call:
            return step.function(*step.args)
        if type(step) is Compute:
            mark = context.computing.set(step.work)
            try:
                return step.function(*step.args, **step.kwargs)
            finally:
                context.computing.reset(mark)
        if type(step) is Wait:
            return step.event.wait(step.seconds)
        if type(step) is Behind:
            self._behind().submit(apart().run, self.run, step.operation)
            return None
        if type(step) is Later:
            with contextlib.suppress(PodiumError):
                self.execute(step.words)
            return None
        raise TypeError(f"no step: {step!r}")

    def _tracked(self, step: Tracked) -> Any:
        local = self.core.local
        assert local is not None
        if self._watched is None or self._watched[0] != step.listener:
            if self._watched is not None:
                self._watched[1].connection_pool.disconnect()
            self._watched = (step.listener, tracked(local, step.listener, False))
        try:
            return self.execute(step.words, self._watched[1])
        except NoTracking as error:
            local.refuse(error)
            return None

    def execute(self, words: Words, client: Any = None) -> Any:
        """One command. Raises Unavailable, or the error that the server answers with."""
        core = self.core
        if core.circuit.opened_at is not None:
            core.check()
        try:
            if core.pending:
                self._pay()
            reply = (client or self._client).execute_command(*words)
        except core.failures.reply as error:
            raise core.refused(error) from None
        except (*core.failures.timeout, *core.failures.away) as error:
            raise core.failed(error) from error
        except core.failures.unsendable as error:
            raise ServerError(f"{type(error).__name__}: {error}", "CLIENT") from error
        if core.circuit.troubled:
            core.answered()
        return reply

    def batch(self, batch: Batch, client: Any = None) -> list[Any]:
        core = self.core
        if core.circuit.opened_at is not None:
            core.check()
        try:
            if core.pending:
                self._pay()
            pipe = (client or self._client).pipeline(transaction=False)
            for words in batch.commands:
                pipe.execute_command(*words)
            replies: list[Any] = pipe.execute(raise_on_error=False)
        except core.failures.reply as error:
            raise core.refused(error) from None
        except (*core.failures.timeout, *core.failures.away) as error:
            raise core.failed(error) from error
        except core.failures.unsendable as error:
            raise ServerError(f"{type(error).__name__}: {error}", "CLIENT") from error
        if core.circuit.troubled:
            core.answered()
        return replies

    def _pay(self) -> None:
        for key in self.core.owed():
            try:
                self._client.execute_command("PODIUM.INVALIDATE", key)
            except self.core.failures.reply as error:
                log.warning("%s could not be invalidated: %s", key, error)
            self.core.paid(key)

    def place(self) -> int:
        """Callers of different places do not wait for each other."""
        return 0

    def _behind(self) -> ThreadPoolExecutor:
        if self._workers is None:
            from concurrent.futures import ThreadPoolExecutor

            self._workers = ThreadPoolExecutor(4, "podium")
        return self._workers

    def close(self) -> None:
        """Closes the connections. Those of a client that is used as it is are left to the application."""
        if self._watched is not None:
            self._watched[1].connection_pool.disconnect()
            self._watched = None
        if self.core.address is not None:
            self._client.connection_pool.disconnect()
