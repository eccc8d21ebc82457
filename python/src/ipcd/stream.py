"""A call that carries items, on the side of its caller."""

from __future__ import annotations

import time
from typing import Any, Iterator, Optional

from .body import Body
from .connection import Connection
from .error import Error, UsageError
from .flow import Flow
from .methods import default_seconds, end_of_wait
from .pending import Pending
from .request import body_of, value_of

#: Signs that this side is there come no closer than this, in seconds.
SHORTEST_SIGN = 0.005


class Stream:
    """Sends items, is an iterator of the service's items, and ends with the reply. One thread may send while another one receives."""

    def __init__(self, connection: Connection, pending: Pending, time_ms: int) -> None:
        if pending.flow is None:
            raise UsageError("the call has no streams")
        self._connection = connection
        self._pending = pending
        self._flow: Flow = pending.flow
        self._sign = max(default_seconds(time_ms, connection.session.call_default_ms) / 3, SHORTEST_SIGN)

    def send(self, value: Any) -> None:
        """Sends an item, and waits until the service takes one. Raises why the call has ended."""
        self._connection.send_item(self._flow, body_of(value), self._sign)

    def finish(self) -> None:
        """The items are complete."""
        self._finish(None)

    def fail(self, error: Error) -> None:
        """The rest of the items will not come. What that means is for the service to decide."""
        self._finish(error)

    def receive(self, timeout: Optional[float] = None) -> Optional[Body]:
        """The next item as it is on the wire; `None` at the end. Raises `TimeoutError` when the time has come, and the `Error` that the
        call has ended with."""
        return self._connection.take_item(self._flow, self._sign, end_of_wait(timeout))

    def end(self) -> Any:
        """Finishes, drops the items that still come, and waits for the reply."""
        self.finish()
        while self._connection.take_item(self._flow, self._sign) is not None:
            pass
        with self._connection.changed:
            while not self._connection.wait(self._has_ended, time.monotonic() + self._sign):
                self._connection.session.show_sign(self._flow)
                self._connection.flush()
        return value_of(self._pending.result())

    def cancel(self) -> None:
        """Gives the call up, if it has not ended."""
        with self._connection.changed:
            self._connection.give_up(self._pending)

    def __iter__(self) -> Iterator[Any]:
        return self

    def __next__(self) -> Any:
        item = self.receive()
        if item is None:
            raise StopIteration
        return value_of(item)

    def __enter__(self) -> Stream:
        return self

    def __exit__(self, *_: object) -> None:
        self.cancel()

    def _has_ended(self) -> bool:
        return self._pending.outcome is not None

    def _finish(self, error: Optional[Error]) -> None:
        with self._connection.changed:
            self._connection.session.finish(self._flow, error)
            self._connection.flush()


class Items:
    """The streams of a delivered call, on the side of its service."""

    def __init__(self, connection: Connection, flow: Flow, time_ms: int) -> None:
        self._connection = connection
        self._flow = flow
        self._sign = max(time_ms / 3000, SHORTEST_SIGN)

    def send(self, value: Any) -> None:
        self._connection.send_item(self._flow, body_of(value), self._sign)

    def next_body(self) -> Optional[Body]:
        return self._connection.take_item(self._flow, self._sign)
