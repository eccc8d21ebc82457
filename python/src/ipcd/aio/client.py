"""A client for asyncio."""

from __future__ import annotations

import asyncio
import time
from typing import Any, List, Optional, Union

from .. import frame as wire
from .. import request
from ..address import Address
from ..body import Body
from ..client import PATIENCE
from ..connection import own_name
from ..error import BrokerLost
from ..inbound import Inbound
from ..pending import Pending
from ..request import NOTHING, Request
from .connection import Connection
from .line import Line
from .lock import Lock
from .stream import Stream
from .subscription import Subscription


class Client:
    """As `ipcd.Client`, for the tasks of one event loop: `await Client.connect()`, or `async with Client() as client`.

    A task that is cancelled cancels the call that it waits for, and the service is told.
    """

    def __init__(
        self, address: Union[str, Address, None] = None, *, agent: Optional[str] = None, patience: float = PATIENCE
    ) -> None:
        """The broker that the environment points to, or the one at an address. It connects in `async with`."""
        self._where = Address(address) if isinstance(address, str) else address or Address.find()
        self._agent = own_name() if agent is None else agent
        self._patience = patience
        self._line: Line
        self._bound: Optional[Inbound] = None

    @classmethod
    async def connect(
        cls, address: Union[str, Address, None] = None, *, agent: Optional[str] = None, patience: float = PATIENCE
    ) -> Client:
        """A client that is connected. Raises `Unavailable` or `Denied`."""
        return await cls(address, agent=agent, patience=patience).__aenter__()

    @classmethod
    def _on(cls, line: Line, bound: Optional[Inbound] = None) -> Client:
        client = cls.__new__(cls)
        client._line, client._bound = line, bound
        return client

    # ---- calls

    async def call(
        self,
        target: str,
        argument: Any = NOTHING,
        *,
        method: Optional[str] = None,
        timeout: Optional[float] = None,
        trace: Optional[str] = None,
    ) -> Any:
        """As `ipcd.Client.call`."""
        return request.value_of(await self._exchange(request.call(target, argument, method, timeout, trace)))

    async def notify(
        self, target: str, argument: Any = NOTHING, *, method: Optional[str] = None, trace: Optional[str] = None
    ) -> None:
        """As `ipcd.Client.notify`."""
        await self._exchange(request.call(target, argument, method, None, trace, wire.ONE_WAY))

    async def stream(
        self,
        target: str,
        argument: Any = NOTHING,
        *,
        send: bool = False,
        receive: bool = True,
        method: Optional[str] = None,
        timeout: Optional[float] = None,
        trace: Optional[str] = None,
    ) -> Stream:
        """As `ipcd.Client.stream`: `async with await client.stream(…) as call`."""
        flags = request.stream_flags(send, receive)
        asked = request.call(target, argument, method, timeout, trace, flags)
        connection, pending, _ = await self._submit(asked)
        return Stream(connection, pending, asked.time_ms)

    async def ping(self) -> None:
        """A round trip to the broker: it has dealt with everything that was sent before."""
        connection = await self._line.live()
        pending = connection.session.ping()
        connection.push()
        await connection.outcome(pending, time.monotonic(), 0, self._bound)

    # ---- events

    async def publish(
        self, topic: str, value: Any = NOTHING, *, retain: bool = False, trace: Optional[str] = None
    ) -> int:
        """As `ipcd.Client.publish`."""
        answer = await self._exchange(request.event(topic, value, retain, trace))
        return int(request.member_of(answer, "subscribers"))

    async def clear(self, topic: str) -> None:
        """Forgets the event that is kept of a topic."""
        await self.publish(topic, retain=True)

    async def announce(
        self, topic: str, value: Any = NOTHING, *, retain: bool = False, trace: Optional[str] = None
    ) -> None:
        """As `ipcd.Client.announce`."""
        asked = request.event(topic, value, retain, trace)
        connection = await self._line.live()
        connection.session.announce(asked.fields, asked.body, asked.flags)
        await connection.drain()

    async def subscribe(
        self, pattern: str, *, policy: str = "drop-oldest", queue: int = 1024, last: bool = False
    ) -> Subscription:
        """As `ipcd.Client.subscribe`: `async with await client.subscribe(…) as notices`."""
        subscription = Subscription(self, request.subscription(pattern, policy, queue, last))
        await subscription._ask()
        return subscription

    # ---- locks, and what the broker knows

    async def lock(self, name: str, *, places: int = 1, timeout: Optional[float] = None) -> Lock:
        """As `ipcd.Client.lock`: `async with await client.lock(…)`."""
        return await self._lock(request.lock(name, places, True, timeout), name)

    async def try_lock(self, name: str, *, places: int = 1) -> Lock:
        """Takes a lock if it is free. Raises `Busy` if it isn't."""
        return await self._lock(request.lock(name, places, False, None), name)

    async def names(self, pattern: Optional[str] = None) -> List[str]:
        """The names on offer, sorted."""
        found: List[str] = []
        after: Optional[str] = None
        while True:
            page = request.value_of(await self._exchange(request.operation("list", pattern=pattern, after=after)))
            found += page["names"]
            after = page.get("next")
            if after is None:
                return found

    async def wait_for(self, name: str, *, gone: bool = False, timeout: Optional[float] = None) -> None:
        """Waits until a name is on offer, or is no more. Raises `DeadlineExceeded`."""
        await self._exchange(request.operation("wait", timeout, name=name, gone=gone))

    def unbound(self) -> Client:
        """This client, without the deadline and the cancellation of the call that it was given for."""
        return Client._on(self._line)

    async def peer(self) -> int:
        """The number of this connection: others call it as `@N` if it serves."""
        await self.ping()
        return self._line.connection.session.peer

    async def close(self) -> None:
        """Ends the connection: what is under way ends with `BrokerLost`."""
        self._line.close()
        await asyncio.sleep(0)  # the transport closes its socket in the next turn of the loop

    async def __aenter__(self) -> Client:
        line = Line(self._where, self._agent, self._patience)
        await line.connect()
        self._line = line
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()

    # ---- inside

    async def _lock(self, asked: Request, name: str) -> Lock:
        connection, pending, since = await self._submit(asked)
        await connection.outcome(pending, since, asked.time_ms, self._bound)
        return Lock(connection, name)

    async def _exchange(self, asked: Request) -> Body:
        connection, pending, since = await self._submit(asked)
        return await connection.outcome(pending, since, asked.time_ms, self._bound)

    async def _submit(self, asked: Request) -> "tuple[Connection, Pending, float]":
        """Sends a call. One that could not leave is sent again on a new connection, once."""
        since = time.monotonic()
        asked = request.within(asked, self._bound, since)
        connection = await self._line.live()
        try:
            pending = connection.session.call(**asked._asdict())
        except BrokerLost:
            connection = await self._line.live()
            pending = connection.session.call(**asked._asdict())
        try:
            await connection.drain()
        except BaseException:
            connection.give_up(pending)
            raise
        return connection, pending, since
