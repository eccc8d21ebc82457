"""What a method with asyncio learns about the call it answers."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, AsyncIterator

from ..delivered import Delivered
from ..error import UsageError
from ..inbound import Inbound
from ..request import body_of, value_of
from ..stream import SHORTEST_SIGN
from .connection import Connection
from .line import Line

if TYPE_CHECKING:
    from .client import Client


class Call(Delivered):
    """As `ipcd.Call`: a method gets it in a parameter that is annotated with this class. When its caller cancels, its task is
    cancelled."""

    def __init__(self, inbound: Inbound, connection: Connection, line: Line) -> None:
        super().__init__(inbound)
        self._connection = connection
        self._line = line
        self._sign = max(inbound.time_ms / 3000, SHORTEST_SIGN)

    @property
    def client(self) -> Client:
        """A client for calls on behalf of this one: they have no more time than it has left, and end when its caller cancels."""
        from .client import Client

        return Client._on(self._line, self._inbound)

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
