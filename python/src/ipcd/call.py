"""What a method learns about the call it answers."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Iterator, Optional

from .connection import Connection
from .delivered import Delivered
from .error import UsageError
from .inbound import Inbound
from .line import Line
from .methods import end_of_wait
from .request import value_of
from .stream import Items

if TYPE_CHECKING:
    from .client import Client


class Call(Delivered):
    """A running call: a method gets it in a parameter that is annotated with this class."""

    def __init__(self, inbound: Inbound, connection: Connection, line: Line) -> None:
        super().__init__(inbound)
        self._connection = connection
        self._line = line
        self._items = None if inbound.flow is None else Items(connection, inbound.flow, inbound.time_ms)

    @property
    def is_cancelled(self) -> bool:
        """Whether the caller has stopped waiting. A method that takes long asks now and then."""
        with self._connection.changed:
            if self._inbound.cancelled is None:
                self._connection.look()
            return self._inbound.cancelled is not None

    def wait_cancelled(self, timeout: Optional[float] = None) -> bool:
        """Waits until the caller has stopped waiting. False if it hasn't within `timeout` seconds."""
        until = end_of_wait(timeout)
        with self._connection.changed:
            return self._connection.wait(lambda: self._inbound.cancelled is not None, until)

    @property
    def client(self) -> Client:
        """A client for calls on behalf of this one: they have no more time than it has left, and end when its caller cancels."""
        from .client import Client

        return Client._on(self._line, self._inbound)

    def send(self, value: Any) -> None:
        """Sends an item, and waits until the caller takes one. Raises why the call has ended."""
        if self._items is None:
            raise UsageError("this call has no streams", safe=False)
        self._items.send(value)

    def __iter__(self) -> Iterator[Any]:
        """The caller's items. Raises why the rest doesn't come."""
        return self

    def __next__(self) -> Any:
        item = None if self._items is None else self._items.next_body()
        if item is None:
            raise StopIteration
        return value_of(item)
