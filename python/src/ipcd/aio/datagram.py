"""Calls and events by datagram, for asyncio."""

from __future__ import annotations

import asyncio
from typing import Any, Dict, Optional, Union

from .. import request
from ..address import Address
from ..datagram import TIMEOUT, Post, announcement, is_answer, notification, value_of
from ..error import DeadlineExceeded, Error, Unavailable, UsageError
from ..frame import Frame
from ..request import NOTHING, Request


class Datagram:
    """As `ipcd.Datagram`, for the tasks of one event loop, whose calls are under way side by side. To be used in an `async with`.

    A task that is cancelled waits no more; a call by datagram can't be cancelled at its service.
    """

    def __init__(self, address: Union[str, Address, None] = None) -> None:
        """Raises `Unavailable`, `Denied` or `UsageError`."""
        self._post = Post(address)
        self._waiting: Dict[int, asyncio.Future[Frame]] = {}
        self._loop: Optional[asyncio.AbstractEventLoop] = None
        #: The descriptor that the loop watches.
        self._watched = -1

    async def call(
        self,
        target: str,
        argument: Any = NOTHING,
        *,
        method: Optional[str] = None,
        timeout: Optional[float] = None,
        trace: Optional[str] = None,
    ) -> Any:
        """Calls, and waits for the reply, as `Client.call` does; without a timeout for 30 s."""
        asked = request.call(target, argument, method, TIMEOUT if timeout is None else timeout, trace)
        number = self._send(asked)
        answer: asyncio.Future[Frame] = asyncio.get_running_loop().create_future()
        self._waiting[number] = answer
        try:
            return value_of(await asyncio.wait_for(answer, asked.time_ms / 1000))
        except asyncio.TimeoutError:
            raise DeadlineExceeded("no answer came in time") from None
        finally:
            del self._waiting[number]

    async def notify(
        self, target: str, argument: Any = NOTHING, *, method: Optional[str] = None, trace: Optional[str] = None
    ) -> None:
        """Makes a call that is not answered. A refusal by the broker isn't told."""
        self._send(notification(target, argument, method, trace))

    async def announce(
        self, topic: str, value: Any = NOTHING, *, retain: bool = False, trace: Optional[str] = None
    ) -> None:
        """Publishes an event. A refusal by the broker isn't told."""
        self._send(announcement(topic, value, retain, trace))

    async def close(self) -> None:
        """Closes the socket: calls that are under way end with `UsageError`."""
        self._unwatch()
        self._post.close()
        self._fail(UsageError("this sender of datagrams was closed", safe=False))

    async def __aenter__(self) -> Datagram:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()

    def _send(self, asked: Request) -> int:
        before = self._post.socket
        try:
            number = self._post.send(asked)
        finally:
            if self._post.socket is not before:  # that of another broker, which owes no answers to what was sent to the one before
                self._unwatch()
                self._fail(Unavailable(f"the broker at {self._post.address} went away", safe=False))
        if self._watched < 0:
            self._loop, self._watched = asyncio.get_running_loop(), self._post.socket.fileno()
            self._loop.add_reader(self._watched, self._read)
        return number

    def _read(self) -> None:
        try:
            frame = self._post.answer()
        except Error as error:
            return self._fail(error)
        waiting = None if frame is None or not is_answer(frame) else self._waiting.get(frame.id)
        if frame is not None and waiting is not None and not waiting.done():
            waiting.set_result(frame)

    def _fail(self, error: Error) -> None:
        for waiting in self._waiting.values():
            if not waiting.done():
                waiting.set_exception(error)

    def _unwatch(self) -> None:
        if self._loop is not None and self._watched >= 0:
            self._loop.remove_reader(self._watched)
        self._watched = -1
