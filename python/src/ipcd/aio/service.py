"""A service for asyncio: a task for each call."""

from __future__ import annotations

import asyncio
import inspect
import logging
import time
from typing import Any, Optional, Set, Union

from ..address import Address
from ..backoff import Backoff
from ..body import JSON, Body
from ..client import PATIENCE
from ..connection import own_name
from ..error import Cancelled, Error, NameTaken, UsageError
from ..inbound import Inbound
from ..methods import Method, Methods, answer_of, failure_of, taken
from ..request import Request, is_passing, operation
from ..service import DRAIN, NAME_TAKEN_PATIENCE, REGISTER_TIMEOUT, UNREGISTER_TIMEOUT
from .call import Call
from .client import Client
from .connection import Connection
from .line import ServiceLine

log = logging.getLogger("ipcd")
#: Calls that the broker delivers at once, unless the service says otherwise.
WINDOW = 64


class Service(Methods):
    """As `ipcd.Service`. Functions may be coroutines, generators, asynchronous generators, or plain and quick: they run on the loop.

    When a caller cancels, or its deadline passes, the task of its call is cancelled.
    """

    def __init__(
        self,
        name: Optional[str] = None,
        *,
        address: Union[str, Address, None] = None,
        window: int = WINDOW,
        shared: bool = False,
        agent: Optional[str] = None,
        about: str = "",
    ) -> None:
        """A service of a name, or without one. `window` is how many calls the broker delivers at once, `about` what
        the service is for."""
        super().__init__(name, about)
        self._where = Address(address) if isinstance(address, str) else address or Address.find()
        self._agent = own_name() if agent is None else agent
        self._window = window
        self._shared = shared
        self._tasks: Set[asyncio.Task[None]] = set()
        self._line: ServiceLine
        self._stop: asyncio.Event
        self._living: Optional[asyncio.Task[None]] = None
        self._has_begun = False
        self._is_stopping = False

    async def run(self) -> None:
        """Registers and serves until `stop`, once. When the broker has gone, it comes back with it.

        Raises why it can't register; later only what will not pass.
        """
        await self._live(await self._begin())

    async def __aenter__(self) -> Service:
        """Registers, and serves in a task of its own until the end of the `async with`."""
        self._living = asyncio.ensure_future(self._live(await self._begin()))
        return self

    async def __aexit__(self, *_: object) -> None:
        assert self._living is not None
        self.stop()
        await self._living

    def stop(self) -> None:
        """Takes the name back and ends `run` when the running calls are answered, after 5 s at the latest. A signal handler of the loop may
        call it."""
        self._is_stopping = True
        if not self._has_begun:
            return
        self._stop.set()
        for watcher in tuple(self._line.connection.session.watchers):
            watcher()

    @property
    def client(self) -> Client:
        """A client on the service's own connection, once that is there."""
        return Client._on(self._line)

    # ---- its life

    async def _begin(self) -> Connection:
        if self._has_begun:
            raise UsageError("a service serves once: make another one")
        self._stop = asyncio.Event()
        self._line = ServiceLine(self._where, self._agent, PATIENCE)
        connection = await self._register()
        self._has_begun = True
        if self._is_stopping:  # by a signal that came meanwhile
            self._stop.set()
        return connection

    async def _live(self, connection: Connection) -> None:
        try:
            while True:
                await self._serve(connection)
                ended = connection.session.ended
                if self._stop.is_set() or ended is None:
                    return await self._leave(connection)
                if not self._line.may_come_back:
                    raise ended
                log.warning("%s: %s", self.name, ended.text)
                returned = await self._come_back()
                if returned is None:
                    return
                connection = returned
                log.warning("%s: registered again", self.name)
        finally:
            self._line.close()
            for task in tuple(self._tasks):
                task.cancel()
            await asyncio.gather(*self._tasks, return_exceptions=True)

    async def _register(self) -> Connection:
        line = self._line
        connection = await Connection.connect(line.address, line.agent, line.patience, calls=self._window)
        try:
            body = Body(self.registration(self._window, self._shared), JSON)
            await self._exchange(connection, operation("register", REGISTER_TIMEOUT)._replace(body=body))
        except BaseException:
            connection.close("the service could not register")
            raise
        line.connection = connection
        return connection

    async def _exchange(self, connection: Connection, asked: Request) -> None:
        pending = connection.session.call(**asked._asdict())
        connection.push()
        await connection.outcome(pending, time.monotonic(), asked.time_ms)

    async def _come_back(self) -> Optional[Connection]:
        backoff, since = Backoff(), time.monotonic()
        while True:
            try:
                await asyncio.wait_for(self._stop.wait(), backoff.pause())
                return None
            except asyncio.TimeoutError:
                pass
            try:
                return await self._register()
            except Error as error:
                is_own = isinstance(error, NameTaken) and time.monotonic() - since < NAME_TAKEN_PATIENCE
                if not (is_own or is_passing(error)):
                    raise

    async def _leave(self, connection: Connection) -> None:
        try:
            body = Body(self.unregistration(), JSON)
            await self._exchange(connection, operation("unregister", UNREGISTER_TIMEOUT)._replace(body=body))
        except Error:
            return
        self._take(connection)
        if self._tasks:
            await asyncio.wait(tuple(self._tasks), timeout=DRAIN)
        await connection.drain()

    async def _serve(self, connection: Connection) -> None:
        """Answers calls until the connection ends or the service is stopped."""
        over: asyncio.Future[None] = asyncio.get_running_loop().create_future()

        def look() -> None:
            if connection.session.ended is None and not self._stop.is_set():
                self._take(connection)
            elif not over.done():
                over.set_result(None)

        connection.session.watchers.append(look)
        try:
            look()
            await over
        finally:
            connection.session.watchers.remove(look)

    def _take(self, connection: Connection) -> None:
        while connection.session.inbound:
            inbound = connection.session.inbound.popleft()
            task = asyncio.ensure_future(self._answer(connection, inbound))
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)

    async def _answer(self, connection: Connection, inbound: Inbound) -> None:
        task = asyncio.current_task()
        assert task is not None

        def cancelled() -> None:
            task.cancel()

        inbound.watchers.append(cancelled)
        answer: Union[Body, Error]
        try:
            answer = await self._run(connection, inbound)
        except asyncio.CancelledError:
            answer = inbound.cancelled or Cancelled("the task of the method was cancelled")
        except Exception as error:
            answer = failure_of(inbound, error)
        inbound.watchers.clear()
        if isinstance(answer, Error):
            connection.session.fail(inbound, answer)
        else:
            connection.session.reply(inbound, answer)
        connection.push()

    async def _run(self, connection: Connection, inbound: Inbound) -> Body:
        if inbound.cancelled is not None:
            raise inbound.cancelled
        method = self.find(inbound)
        call = Call(inbound, connection, self._line)
        placed, named = method.arguments(inbound.body, call)
        if inbound.flow is not None:
            connection.session.welcome_items(inbound.flow)
            connection.push()
        value = method.function(*placed, **named)
        if inbound.flow is not None and (inspect.isgenerator(value) or inspect.isasyncgen(value)):
            taken(inbound, value)
        return answer_of(inbound, method, await _settled(method, call, value))


async def _settled(method: Method, call: Call, value: Any) -> Any:
    """What a function comes to: awaited, or the items sent that it yields."""
    if inspect.isasyncgen(value):
        async for item in value:
            await call.send(item)
        return None
    if inspect.isgenerator(value) and method.is_streamed:
        while True:
            try:
                item = next(value)
            except StopIteration as end:
                return end.value
            await call.send(item)
    return await value if inspect.isawaitable(value) else value
