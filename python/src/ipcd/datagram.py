"""Calls and events by datagram: no connection to set up, one frame each way."""

from __future__ import annotations

import random
import select
import threading
import time
from typing import Any, Optional, Union

from . import frame as wire
from . import request
from .address import Address
from .error import Busy, DeadlineExceeded, Denied, TooLarge, Unavailable, received
from .frame import Frame, Violation
from .request import NOTHING, Request

#: What a call has that names no time, in seconds: the broker's own default isn't told to senders of datagrams.
TIMEOUT = 30.0


class Datagram:
    """A sender of datagrams to a broker, for programs that send one call and go. Sending never waits: `Busy` says that it wasn't sent.
    Threads that share a sender take turns."""

    def __init__(self, address: Union[str, Address, None] = None) -> None:
        """Raises `Unavailable` or `Denied`."""
        where = Address(address) if isinstance(address, str) else address or Address.find()
        self._address = where
        self._socket = where.datagrams()
        # The kernel gives the address of a sender that is gone to the next one: an answer that comes late must not be taken for
        # one of its own.
        self._last_id = random.getrandbits(62)
        self._turn = threading.Lock()

    def call(
        self,
        target: str,
        argument: Any = NOTHING,
        *,
        method: Optional[str] = None,
        timeout: float = TIMEOUT,
        trace: Optional[str] = None,
    ) -> Any:
        """Calls, and waits for the reply, as `Client.call` does."""
        until = time.monotonic() + timeout
        asked = request.call(target, argument, method, timeout, trace)
        if not self._turn.acquire(timeout=timeout):
            raise DeadlineExceeded("another thread waited for its reply", safe=True)
        try:
            self._send(asked)
            return self._reply(until)
        finally:
            self._turn.release()

    def notify(
        self, target: str, argument: Any = NOTHING, *, method: Optional[str] = None, trace: Optional[str] = None
    ) -> None:
        """Makes a call that is not answered. A refusal by the broker isn't told."""
        with self._turn:
            self._send(request.call(target, argument, method, None, trace, wire.ONE_WAY))

    def announce(self, topic: str, value: Any = NOTHING, *, retain: bool = False, trace: Optional[str] = None) -> None:
        """Publishes an event. A refusal by the broker isn't told."""
        asked = request.event(topic, value, retain, trace)
        with self._turn:
            self._send(asked._replace(flags=asked.flags | wire.ONE_WAY))

    def close(self) -> None:
        self._socket.close()

    def __enter__(self) -> Datagram:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _send(self, asked: Request) -> None:
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
                self._socket.send(frame)
            except (ConnectionError, FileNotFoundError):  # another broker may listen there by now
                self._socket.close()
                self._socket = self._address.datagrams()
                self._socket.send(frame)
        except BlockingIOError:
            raise Busy("the broker's queue of datagrams is full") from None
        except PermissionError as error:
            raise Denied("the broker's socket may not be used") from error
        except OSError as error:
            raise Unavailable(f"no broker answers at {self._address}: {error.strerror}") from error

    def _reply(self, until: float) -> Any:
        poll = select.poll()
        poll.register(self._socket, select.POLLIN)
        while True:
            left = until - time.monotonic()
            if left <= 0 or not poll.poll(-int(-left * 1000 // 1)):
                raise DeadlineExceeded("no answer came in time")
            answer = self._answer()
            if answer is None or answer.id != self._last_id:
                continue
            if answer.kind == wire.REPLY:
                return request.value_of(answer.body)
            if answer.kind == wire.ERROR:
                is_safe = bool(answer.flags & wire.RETRY_SAFE)
                text = answer.text(wire.TEXT)
                raise received(answer.code, text, safe=is_safe, app_code=answer.detail, body=answer.body)

    def _answer(self) -> Optional[Frame]:
        """`None` for a datagram that is none of ours."""
        try:
            return wire.decode(self._socket.recv(wire.MAX_DATAGRAM + 1))
        except (BlockingIOError, Violation):
            return None
        except OSError as error:
            raise Unavailable(f"the broker at {self._address} went away: {error.strerror}", safe=False) from error
