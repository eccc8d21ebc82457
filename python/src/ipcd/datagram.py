"""Calls and events by datagram: no connection to set up, one frame each way."""

from __future__ import annotations

import random
import select
import threading
import time
from typing import Any, Optional, Union

from . import fork, request
from . import frame as wire
from .address import Address
from .error import Busy, DeadlineExceeded, Denied, Error, TooLarge, Unavailable, UsageError, received
from .frame import Frame, Violation
from .request import NOTHING, Request

#: What a call has that names no time, in seconds: the broker's own default isn't told to senders of datagrams.
TIMEOUT = 30.0


class Post:
    """A socket for datagrams to a broker. Nothing here waits."""

    def __init__(self, address: Union[str, Address, None]) -> None:
        """Raises `Unavailable` or `Denied`."""
        self.address = Address(address) if isinstance(address, str) else address or Address.find()
        self.socket = self.address.datagrams()
        self._first_id()
        fork.watch(self)

    def send(self, asked: Request) -> int:
        """Sends it, and returns its number. `Busy` says that it wasn't sent.

        Raises `TooLarge`, `Denied`, `Unavailable`, or `UsageError` after `close`.
        """
        if self.socket.fileno() < 0:
            raise UsageError("this sender of datagrams was closed")
        self._last_id += 1
        frame = Frame(
            asked.kind,
            self._last_id,
            flags=asked.flags,
            time_ms=asked.time_ms,
            fields=asked.fields,
            encoding=asked.body.encoding,
            data=asked.body.data,
        ).encode()
        if len(frame) > wire.MAX_DATAGRAM:
            raise TooLarge(f"the datagram has {len(frame)} bytes, the most is {wire.MAX_DATAGRAM}")
        try:
            try:
                self.socket.send(frame)
            except (ConnectionError, FileNotFoundError):  # another broker may listen there by now
                again = self.address.datagrams()
                self.socket.close()
                self.socket = again
                self.socket.send(frame)
        except BlockingIOError:
            raise Busy("the broker's queue of datagrams is full") from None
        except PermissionError as error:
            raise Denied("the broker's socket may not be used") from error
        except OSError as error:
            raise Unavailable(f"no broker answers at {self.address}: {error.strerror}") from error
        return self._last_id

    def answer(self) -> Optional[Frame]:
        """The next answer; `None` for a datagram that is none, and if there is none.

        Raises `Unavailable`.
        """
        try:
            return wire.decode(self.socket.recv(wire.MAX_DATAGRAM + 1))
        except (BlockingIOError, Violation):
            return None
        except OSError as error:
            raise Unavailable(f"the broker at {self.address} went away: {error.strerror}", safe=False) from error

    def close(self) -> None:
        self.socket.close()

    def forked(self) -> None:
        """In the child: answers to the parent come to the old socket. One that can't be replaced is closed."""
        was_open = self.socket.fileno() >= 0
        self.socket.close()
        self._first_id()
        try:
            self.socket = self.address.datagrams() if was_open else self.socket
        except Error:
            pass

    def _first_id(self) -> None:
        # The kernel gives the address of a sender that is gone to the next one: an answer that comes late must not be taken for
        # one of its own.
        self._last_id = random.SystemRandom().getrandbits(62)


def value_of(answer: Frame) -> Any:
    """What an answer comes to.

    Raises the `Error` that it says.
    """
    if answer.kind == wire.REPLY:
        return request.value_of(answer.body)
    is_safe = bool(answer.flags & wire.RETRY_SAFE)
    text = answer.text(wire.TEXT)
    raise received(answer.code, text, safe=is_safe, app_code=answer.detail, body=answer.body)


def is_answer(frame: Frame) -> bool:
    return frame.kind in (wire.REPLY, wire.ERROR)


def notification(target: str, argument: Any, method: Optional[str], trace: Optional[str]) -> Request:
    """A call that isn't answered. Raises `UsageError` or `Invalid`."""
    return request.call(target, argument, method, None, trace, wire.ONE_WAY)


def announcement(topic: str, value: Any, retain: bool, trace: Optional[str]) -> Request:
    """An event that isn't answered. Raises `UsageError` or `Invalid`."""
    asked = request.event(topic, value, retain, trace)
    return asked._replace(flags=asked.flags | wire.ONE_WAY)


class Datagram:
    """A sender of datagrams to a broker, for programs that send one call and go. Sending never waits: `Busy` says that it wasn't sent.
    Threads that share a sender take turns. Addresses `fd:N` have no datagrams."""

    def __init__(self, address: Union[str, Address, None] = None) -> None:
        """Raises `Unavailable`, `Denied` or `UsageError`."""
        self._post = Post(address)
        self._turn = threading.Lock()
        fork.watch(self)

    def call(
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
        seconds = asked.time_ms / 1000
        until = time.monotonic() + seconds
        if not self._turn.acquire(timeout=seconds):
            raise DeadlineExceeded("another thread waited for its reply", safe=True)
        try:
            return self._reply(self._post.send(asked), until)
        finally:
            self._turn.release()

    def notify(
        self, target: str, argument: Any = NOTHING, *, method: Optional[str] = None, trace: Optional[str] = None
    ) -> None:
        """Makes a call that is not answered. A refusal by the broker isn't told."""
        with self._turn:
            self._post.send(notification(target, argument, method, trace))

    def announce(self, topic: str, value: Any = NOTHING, *, retain: bool = False, trace: Optional[str] = None) -> None:
        """Publishes an event. A refusal by the broker isn't told."""
        with self._turn:
            self._post.send(announcement(topic, value, retain, trace))

    def close(self) -> None:
        """Closes the socket: answers that still come are lost."""
        self._post.close()

    def forked(self) -> None:
        """In the child: no thread of it has the turn."""
        self._turn = threading.Lock()

    def __enter__(self) -> Datagram:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _reply(self, number: int, until: float) -> Any:
        poll = select.poll()
        poll.register(self._post.socket, select.POLLIN)
        while True:
            left = until - time.monotonic()
            if left <= 0 or not poll.poll(-int(-left * 1000 // 1)):
                raise DeadlineExceeded("no answer came in time")
            answer = self._post.answer()
            if answer is not None and answer.id == number and is_answer(answer):
                return value_of(answer)
