"""A service that blocks: functions that answer calls, on one thread or several."""

from __future__ import annotations

import inspect
import logging
import threading
import time
from typing import Any, Callable, Optional, Union

from .address import Address
from .backoff import Backoff
from .body import Body
from .call import Call
from .client import PATIENCE, Client
from .connection import Connection, own_name
from .error import BrokerLost, Error, NameTaken, UsageError
from .inbound import Inbound
from .line import ServiceLine
from .methods import Methods, answer_of, failure_of, taken
from .request import Request, is_passing, operation

log = logging.getLogger("ipcd")

#: The broker answers both itself, so they take no time unless it hangs.
REGISTER_TIMEOUT = 10.0
UNREGISTER_TIMEOUT = 1.0
#: How long another owner of the name may be this service's own old connection.
NAME_TAKEN_PATIENCE = 5.0
#: How long the calls that run at a stop may take to end.
DRAIN = 5.0


class Service(Methods):
    """Functions under a name.

        service = ipcd.Service("calc")

        @service.method
        def add(a: int, b: int) -> int:
            return a + b

        service.run()
    """

    def __init__(
        self,
        name: Optional[str] = None,
        *,
        address: Union[str, Address, None] = None,
        threads: int = 1,
        window: Optional[int] = None,
        shared: bool = False,
        agent: Optional[str] = None,
        about: str = "",
    ) -> None:
        """A service of a name, or without one: it is called by its number.

        `threads` run methods at once: the one of `run` and others. `window` is how many calls the broker delivers at once, by default
        one for each thread. With `shared`, several processes may serve the name. `about` says what it
        is for.
        """
        super().__init__(name, about)
        if threads < 1:
            raise UsageError("a service has at least one thread")
        where = Address(address) if isinstance(address, str) else address or Address.find()
        self._line = ServiceLine(where, own_name() if agent is None else agent, PATIENCE)
        self._threads = threads
        self._window = threads if window is None else window
        self._shared = shared
        self._is_stopping = False
        self._stopped = threading.Event()

    def run(self) -> None:
        """Registers and serves until `stop`, once. When the broker has gone, it comes back with it.

        Raises why it can't register; later only what will not pass.
        """
        connection = self._register()
        self._live(connection)

    def start(self) -> Running:
        """Registers, and serves on a thread of its own. For a `with`, which stops it."""
        return Running(self, self._register())

    def stop(self) -> None:
        """Takes the name back and ends `run` when the running calls are answered, after 5 s at the latest. May be called by any thread, a
        method, or a signal handler."""
        self._is_stopping = True
        self._stopped.set()
        connection = getattr(self._line, "connection", None)
        if connection is not None:
            connection.wake()

    @property
    def client(self) -> Client:
        """A client on the service's own connection, once that is there."""
        return Client._on(self._line)

    def _check(self, function: Callable[..., Any]) -> None:
        one = getattr(function, "func", function)
        for body in (one, getattr(one, "__call__", None)):
            if inspect.iscoroutinefunction(body) or inspect.isasyncgenfunction(body):
                name = getattr(one, "__name__", repr(one))
                raise UsageError(f"{name} is an async function, which this service can't await: use ipcd.aio.Service")

    # ---- its life

    def _live(self, connection: Connection) -> None:
        try:
            while True:
                self._serve(connection)
                ended = connection.session.ended
                if self._is_stopping or ended is None:
                    return self._leave(connection)
                if not self._line.may_come_back:
                    raise ended
                log.warning("%s: %s", self.name, ended.text)
                returned = self._come_back()
                if returned is None:
                    return
                connection = returned
                log.warning("%s: registered again", self.name)
        finally:
            self._line.is_closed = True
            self._line.connection.close("the service was stopped")

    def _register(self) -> Connection:
        if self._line.is_closed:
            raise UsageError("a service serves once: make another one")
        connection = Connection(self._line.address, self._line.agent, self._line.patience, calls=self._window)
        connection.make_wakeable()
        try:
            body = Body(self.registration(self._window, self._shared), 2)
            self._exchange(connection, operation("register", REGISTER_TIMEOUT)._replace(body=body))
        except BaseException:
            connection.close("the service could not register")
            raise
        self._line.adopt(connection)
        return connection

    def _exchange(self, connection: Connection, asked: Request) -> None:
        since = time.monotonic()
        with connection.changed:
            pending = connection.session.call(**asked._asdict())
            connection.flush(since + asked.time_ms / 1000)
        connection.outcome(pending, since, asked.time_ms)

    def _come_back(self) -> Optional[Connection]:
        backoff, since = Backoff(), time.monotonic()
        while not self._stopped.wait(backoff.pause()):
            try:
                return self._register()
            except Error as error:
                is_own = isinstance(error, NameTaken) and time.monotonic() - since < NAME_TAKEN_PATIENCE
                if not (is_own or is_passing(error)):
                    raise
        return None

    def _leave(self, connection: Connection) -> None:
        try:
            body = Body(self.unregistration(), 2)
            self._exchange(connection, operation("unregister", UNREGISTER_TIMEOUT)._replace(body=body))
        except Error:
            return
        until = time.monotonic() + DRAIN
        self._serve(connection, until)

    def _serve(self, connection: Connection, until: Optional[float] = None) -> None:
        """Answers calls until the connection ends or the service is stopped; with `until`, until all are answered."""
        others = [
            threading.Thread(target=self._work, args=(connection, until), name=f"{self.name}-{n}", daemon=True)
            for n in range(1, self._threads)
        ]
        for thread in others:
            thread.start()
        self._work(connection, until)

    def _work(self, connection: Connection, until: Optional[float]) -> None:
        session = connection.session

        def is_ready() -> bool:
            done = session.is_idle if until is not None else self._is_stopping
            return bool(session.inbound or session.ended or done)

        while True:
            with connection.changed:
                connection.wait(is_ready, until)
                if session.ended is not None or not session.inbound or (self._is_stopping and until is None):
                    connection.changed.notify_all()
                    return
                inbound = session.inbound.popleft()
                if connection._waiting:
                    connection.changed.notify_all()
            self._answer(connection, inbound)

    def _answer(self, connection: Connection, inbound: Inbound) -> None:
        try:
            body = self._run(connection, inbound)
        except Exception as error:
            self._send(connection, inbound, failure_of(inbound, error))
        except BaseException as error:
            self._send(connection, inbound, failure_of(inbound, error))
            raise
        else:
            self._send(connection, inbound, body)

    def _run(self, connection: Connection, inbound: Inbound) -> Body:
        method = self.find(inbound)
        call = Call(inbound, connection, self._line)
        placed, named = method.arguments(inbound.body, call)
        if inbound.flow is not None:
            with connection.changed:
                connection.session.welcome_items(inbound.flow)
                connection.flush()
        value = method.function(*placed, **named)
        if inspect.isgenerator(value) and inbound.flow is not None:
            value = _sent(call, taken(inbound, value))
        return answer_of(inbound, method, value)

    def _send(self, connection: Connection, inbound: Inbound, answer: Union[Body, Error]) -> None:
        with connection.changed:
            if isinstance(answer, Error):
                connection.session.fail(inbound, answer)
            else:
                connection.session.reply(inbound, answer)
            connection.flush()
            connection.changed.notify_all()
        if self._is_stopping:
            connection.wake()  # the thread that reads may wait for this answer


class Running:
    """A service that serves on a thread of its own."""

    def __init__(self, service: Service, connection: Connection) -> None:
        self.service = service
        #: What it ended with, if it wasn't stopped.
        self.error: Optional[BaseException] = None
        self._thread = threading.Thread(target=self._live, args=(connection,), name=str(service.name), daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """Stops the service and waits for its end. Raises what it had ended with."""
        self.service.stop()
        self._thread.join()
        if self.error is not None and not isinstance(self.error, BrokerLost):
            raise self.error

    def __enter__(self) -> Service:
        return self.service

    def __exit__(self, *_: object) -> None:
        self.stop()

    def _live(self, connection: Connection) -> None:
        try:
            self.service._live(connection)
        except BaseException as error:
            self.error = error
            log.error("%s serves no more: %s", self.service.name, error)


def _sent(call: Call, items: Any) -> Any:
    """Sends what a generator yields, and returns what it returns."""
    try:
        while True:
            try:
                item = next(items)
            except StopIteration as end:
                return end.value
            call.send(item)
    finally:
        items.close()
