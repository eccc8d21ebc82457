"""A place of a lock between processes."""

from __future__ import annotations

import time

from . import request
from .connection import Connection
from .error import BrokerLost


class Lock:
    """A place of a lock that is held. It belongs to the connection on which it was taken, and is gone with it: what must not run without
    the lock asks `is_held`."""

    def __init__(self, connection: Connection, name: str) -> None:
        self.name = name
        self._connection = connection
        self._is_released = False

    @property
    def is_held(self) -> bool:
        """Whether the lock is still held, as far as can be known without asking the broker."""
        return not self._is_released and self._connection.is_alive

    def release(self) -> None:
        """Gives the lock back, and waits until the broker has taken it. Raises `BrokerLost` if it was gone with its connection."""
        if self._is_released:
            return
        self._is_released = True
        since = time.monotonic()
        with self._connection.changed:
            pending = self._connection.session.call(**request.operation("unlock", name=self.name)._asdict())
            self._connection.flush()
        self._connection.outcome(pending, since, 0)

    def __enter__(self) -> Lock:
        return self

    def __exit__(self, kind: object, *_: object) -> None:
        try:
            self.release()
        except BrokerLost:
            if kind is None:
                raise
