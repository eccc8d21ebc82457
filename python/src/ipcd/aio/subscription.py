"""A subscription for asyncio, which survives its broker."""

from __future__ import annotations

import asyncio
import time
from typing import TYPE_CHECKING, AsyncIterator, Optional

from ..backoff import Backoff
from ..error import Error
from ..event import Notice, Resumed
from ..feed import Feed
from ..methods import end_of_wait
from ..request import Request, is_passing
from .connection import changed

if TYPE_CHECKING:
    from .client import Client
    from .connection import Connection


class Subscription:
    """As `ipcd.Subscription`: an asynchronous iterator of events, gaps and `Resumed`. For one task. A wait for the next notice may be
    cancelled: no event is lost by that."""

    def __init__(self, client: Client, asked: Request) -> None:
        self._client = client
        self._asked = asked
        self._backoff = Backoff()
        #: When to subscribe again, if the broker is away.
        self._again: Optional[float] = None
        self._error: Optional[Error] = None
        self._is_told = False
        self._feed: Feed
        self._connection: Connection

    async def next(self, timeout: Optional[float] = None) -> Optional[Notice]:
        """The next notice; `None` if there is none in time. Raises the error that the subscription has ended with."""
        until = end_of_wait(timeout)
        while self._error is None:
            if self._again is not None:
                if await self._come_back(self._again, until):
                    return Resumed()
            else:
                notice = self._feed.take()
                if notice is not None:
                    return notice
                if self._feed.ended is not None:
                    self._lost(self._feed.ended)
                elif await changed(self._feed.watchers, until):
                    continue
            if until is not None and time.monotonic() >= until:
                return None
        raise self._error

    async def close(self) -> None:
        """Unsubscribes."""
        if self._again is None:
            self._connection.session.unsubscribe(self._feed)
            await self._connection.drain()
        self._again = None
        self._is_told = True
        self._error = self._error or Error("the subscription was closed", safe=True)

    def __aiter__(self) -> AsyncIterator[Notice]:
        return self

    async def __anext__(self) -> Notice:
        if self._is_told:
            raise StopAsyncIteration
        while True:
            try:
                notice = await self.next()
            except Error:
                self._is_told = True
                raise
            if notice is not None:
                return notice

    async def __aenter__(self) -> Subscription:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()

    async def _ask(self) -> None:
        connection, pending, since = await self._client._submit(self._asked)
        await connection.outcome(pending, since, 0)
        assert pending.feed is not None, "the reply began it"
        self._feed, self._connection = pending.feed, connection

    def _lost(self, error: Error) -> None:
        if error.is_received and self._client._line.may_come_back:
            self._backoff = Backoff()
            self._again = time.monotonic() + self._backoff.pause()
        else:
            self._error = error

    async def _come_back(self, again: float, until: Optional[float]) -> bool:
        """Waits for its time, and subscribes again. False if it didn't."""
        await asyncio.sleep((again if until is None else min(again, until)) - time.monotonic())
        if time.monotonic() < again:
            return False
        try:
            await self._ask()
        except Error as error:
            if not is_passing(error) or not self._client._line.may_come_back:
                self._error = error
            self._again = time.monotonic() + self._backoff.pause()
            return False
        self._again = None
        return True
