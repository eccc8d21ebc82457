"""A call that carries items, on the side of its caller, for asyncio."""

from __future__ import annotations

import time
from typing import Any, AsyncIterator, Optional

from ..body import Body
from ..error import Error, UsageError
from ..flow import Flow
from ..methods import default_seconds, end_of_wait
from ..pending import Pending
from ..request import body_of, value_of
from ..stream import SHORTEST_SIGN
from .connection import Connection, changed


class Stream:
    """As `ipcd.Stream`. One task may send while another one receives."""

    def __init__(self, connection: Connection, pending: Pending, time_ms: int) -> None:
        if pending.flow is None:
            raise UsageError("the call has no streams")
        self._connection = connection
        self._pending = pending
        self._flow: Flow = pending.flow
        self._sign = max(default_seconds(time_ms, connection.session.call_default_ms) / 3, SHORTEST_SIGN)

    async def send(self, value: Any) -> None:
        """Sends an item, and waits until the service takes one. Raises why the call has ended."""
        await self._connection.send_item(self._flow, body_of(value), self._sign)

    async def finish(self) -> None:
        """The items are complete."""
        self._connection.session.finish(self._flow)
        await self._connection.drain()

    async def fail(self, error: Error) -> None:
        """The rest of the items will not come. What that means is for the service to decide."""
        self._connection.session.finish(self._flow, error)
        await self._connection.drain()

    async def receive(self, timeout: Optional[float] = None) -> Optional[Body]:
        """The next item as it is on the wire; `None` at the end. Raises `TimeoutError` when the time has come, and the `Error` that the
        call has ended with."""
        return await self._connection.take_item(self._flow, self._sign, end_of_wait(timeout))

    async def end(self) -> Any:
        """Finishes, drops the items that still come, and waits for the reply."""
        await self.finish()
        while await self.receive() is not None:
            pass
        while self._pending.outcome is None:
            if not await changed(self._pending.watchers, time.monotonic() + self._sign):
                self._connection.session.show_sign(self._flow)
                self._connection.push()
        return value_of(self._pending.result())

    def cancel(self) -> None:
        """Gives the call up, if it has not ended."""
        self._connection.give_up(self._pending)

    def __aiter__(self) -> AsyncIterator[Any]:
        return self

    async def __anext__(self) -> Any:
        item = await self.receive()
        if item is None:
            raise StopAsyncIteration
        return value_of(item)

    async def __aenter__(self) -> Stream:
        return self

    async def __aexit__(self, *_: object) -> None:
        self.cancel()
