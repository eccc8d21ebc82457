"""A subscription that blocks, and survives its broker."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Iterator, Optional

from .backoff import Backoff
from .error import Error
from .event import Notice, Resumed
from .feed import Feed
from .methods import end_of_wait
from .request import Request, is_passing

if TYPE_CHECKING:
    from .client import Client
    from .connection import Connection


class Subscription:
    """An iterator of events, gaps, and `Resumed` after the broker was away. It ends if the broker refuses it for good: with that error,
    once. For one thread."""

    def __init__(self, client: Client, asked: Request) -> None:
        self._client = client
        self._asked = asked
        self._backoff = Backoff()
        self._again: Optional[float] = None
        self._error: Optional[Error] = None
        self._is_told = False
        self._feed: Feed
        self._connection: Connection
        self._ask()

    def next(self, timeout: Optional[float] = None) -> Optional[Notice]:
        """The next notice; `None` if there is none in time. Raises the error that the subscription has ended with."""
        until = end_of_wait(timeout)
        while self._error is None:
            if self._again is not None:
                if self._come_back(until):
                    return Resumed()
            else:
                notice = self._take(until)
                if notice is not None:
                    return notice
            if until is not None and time.monotonic() >= until:
                return None
        raise self._error

    def close(self) -> None:
        """Unsubscribes."""
        if self._again is None:
            with self._connection.changed:
                self._connection.session.unsubscribe(self._feed)
                self._connection.flush(time.monotonic() + 1)
        self._again = None
        self._is_told = True
        self._error = self._error or Error("the subscription was closed", safe=True)

    def __iter__(self) -> Iterator[Notice]:
        return self

    def __next__(self) -> Notice:
        if self._is_told:
            raise StopIteration
        while True:
            try:
                notice = self.next()
            except Error:
                self._is_told = True
                raise
            if notice is not None:
                return notice

    def __enter__(self) -> Subscription:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _ask(self) -> None:
        ticket = self._client._submit(self._asked)
        ticket.body()
        feed = ticket._pending.feed
        assert feed is not None, "the reply began it"
        self._feed, self._connection = feed, ticket._connection

    def _take(self, until: Optional[float]) -> Optional[Notice]:
        feed, connection = self._feed, self._connection
        with connection.changed:
            connection.wait(lambda: not feed.is_empty, until)
            notice = feed.take()
            if notice is None and feed.ended is not None:
                self._lost(feed.ended)
            return notice

    def _lost(self, error: Error) -> None:
        if not error.is_received or not self._client._line.may_come_back:
            self._error = error
            return
        self._backoff = Backoff()
        self._again = time.monotonic() + self._backoff.pause()

    def _come_back(self, until: Optional[float]) -> bool:
        """Waits for its time, and subscribes again. False if it didn't."""
        assert self._again is not None
        pause = self._again - time.monotonic()
        left = pause if until is None else min(pause, until - time.monotonic())
        if left > 0:
            time.sleep(left)
        if time.monotonic() < self._again:
            return False
        try:
            self._ask()
        except Error as error:
            if not is_passing(error) or not self._client._line.may_come_back:
                self._error = error
                return False
            self._again = time.monotonic() + self._backoff.pause()
            return False
        self._again = None
        return True
