"""A place of a lock between processes, for asyncio."""

from __future__ import annotations

import time

from .. import request
from ..error import BrokerLost
from .connection import Connection


class Lock:
    """As `ipcd.Lock`: a place of a lock that is held, and is gone with its connection."""

    def __init__(self, connection: Connection, name: str) -> None:
        self.name = name
        self._connection = connection
        self._is_released = False

    @property
    def is_held(self) -> bool:
        """Whether the lock is still held, as far as can be known without asking the broker."""
        return not self._is_released and self._connection.is_alive

    async def release(self) -> None:
        """Gives the lock back, and waits until the broker has taken it. Raises `BrokerLost` if it was gone with its connection."""
        if self._is_released:
            return
        self._is_released = True
        pending = self._connection.session.call(**request.operation("unlock", name=self.name)._asdict())
        self._connection.push()
        await self._connection.outcome(pending, time.monotonic(), 0)

    async def __aenter__(self) -> Lock:
        return self

    async def __aexit__(self, kind: object, *_: object) -> None:
        try:
            await self.release()
        except BrokerLost:
            if kind is None:
                raise
