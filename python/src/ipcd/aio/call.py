"""What a method with asyncio learns about the call it answers."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any, AsyncIterator, ClassVar, Optional

from ..body import Body
from ..caller import Caller
from ..error import UsageError
from ..inbound import Inbound
from ..request import body_of, value_of
from ..stream import SHORTEST_SIGN
from .connection import Connection
from .line import Line

if TYPE_CHECKING:
    from .client import Client


class Call:
    """As `ipcd.Call`: a method gets it in a parameter that is annotated with this class. When its caller cancels, its task is
    cancelled."""

    _is_call: ClassVar[bool] = True

    def __init__(self, inbound: Inbound, connection: Connection, line: Line) -> None:
        self._inbound = inbound
        self._connection = connection
        self._line = line
        self._sign = max(inbound.time_ms / 3000, SHORTEST_SIGN)

    @property
    def service(self) -> str:
        """The name that was called, or `@N`."""
        return self._inbound.service

    @property
    def method(self) -> str:
        """The method; empty for the default method."""
        return self._inbound.method

    @property
    def body(self) -> Body:
        """The request as it came."""
        return self._inbound.body

    @property
    def caller(self) -> Caller:
        """Who called: stamped by the broker."""
        return self._inbound.caller

    @property
    def one_way(self) -> bool:
        """Whether the caller waits for no reply."""
        return self._inbound.one_way

    @property
    def trace(self) -> Optional[str]:
        """W3C trace context, as the caller sent it."""
        return self._inbound.trace

    @property
    def time_left(self) -> float:
        """Seconds that the caller will go on waiting. A call with streams has as much time again after each item of either side."""
        return max(0.0, self._inbound.deadline - time.monotonic())

    @property
    def client(self) -> Client:
        """A client for calls on behalf of this one: they have no more time than it has left, and end when its caller cancels."""
        from .client import Client

        return Client._on(self._line, self._inbound)

    @property
    def has_items(self) -> bool:
        """Whether the caller sends items."""
        return self._inbound.flow is not None and self._inbound.flow.receives

    async def send(self, value: Any) -> None:
        """Sends an item, and waits until the caller takes one. Raises why the call has ended."""
        if self._inbound.flow is None:
            raise UsageError("this call has no streams", safe=False)
        await self._connection.send_item(self._inbound.flow, body_of(value), self._sign)

    def __aiter__(self) -> AsyncIterator[Any]:
        """The caller's items. Raises why the rest doesn't come."""
        return self

    async def __anext__(self) -> Any:
        flow = self._inbound.flow
        item = None if flow is None else await self._connection.take_item(flow, self._sign)
        if item is None:
            raise StopAsyncIteration
        return value_of(item)
