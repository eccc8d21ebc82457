"""A subscription for asyncio, which survives its broker."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, AsyncIterator, Optional

from ..backoff import Backoff
from ..error import Error
from ..event import Notice, Resumed
from ..feed import Feed
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
        self._backoff: Optional[Backoff] = None
        self._error: Optional[Error] = None
        self._is_told = False
        self._feed: Feed
        self._connection: Connection

    async def next(self) -> Notice:
        """The next notice. Raises the error that the subscription has ended with."""
        while self._error is None:
            if self._backoff is not None:
                if await self._come_back(self._backoff):
                    return Resumed()
                continue
            notice = self._feed.take()
            if notice is not None:
                return notice
            if self._feed.ended is not None:
                self._lost(self._feed.ended)
            else:
                await changed(self._feed.watchers, None)
        raise self._error

    async def close(self) -> None:
        """Unsubscribes."""
        if self._backoff is None:
            self._connection.session.unsubscribe(self._feed)
            await self._connection.drain()
        self._is_told = True
        self._error = self._error or Error("the subscription was closed", safe=True)

    def __aiter__(self) -> AsyncIterator[Notice]:
        return self

    async def __anext__(self) -> Notice:
        if self._is_told:
            raise StopAsyncIteration
        try:
            return await self.next()
        except Error:
            self._is_told = True
            raise

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
        else:
            self._error = error

    async def _come_back(self, backoff: Backoff) -> bool:
        """Waits for its time, and subscribes again. False if it didn't."""
        await asyncio.sleep(backoff.pause())
        try:
            await self._ask()
        except Error as error:
            if not is_passing(error) or not self._client._line.may_come_back:
                self._error = error
            return False
        self._backoff = None
        return True
