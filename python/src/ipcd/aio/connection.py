"""A connection that the tasks of one event loop share."""

from __future__ import annotations

import asyncio
import time
from typing import Any, Callable, List, Optional

from ..address import Address
from ..body import Body
from ..connection import GRACE
from ..error import BrokerLost, DeadlineExceeded, Unavailable
from ..flow import Flow
from ..inbound import Inbound
from ..methods import default_seconds
from ..pending import Pending
from ..session import Session

#: How often a broker that is too busy to accept is asked again, in seconds.
_AGAIN = 0.01
#: Bytes that don't wait for the end of the turn.
_MUCH = 65_536


class Connection(asyncio.Protocol):
    """Belongs to the event loop that connected it."""

    def __init__(self, address: Address, agent: str, calls: int = 0) -> None:
        self.address = address
        self.session = Session(agent, calls)
        self._transport: Optional[asyncio.Transport] = None
        self._loop = asyncio.get_running_loop()
        self._drained: List[Callable[[], None]] = []
        self._is_full = False
        #: Whether a turn of the loop will write.
        self._is_due = False

    @classmethod
    async def connect(cls, address: Address, agent: str, patience: float, calls: int = 0) -> Connection:
        """Raises `Unavailable` or `Denied`."""
        until = time.monotonic() + patience
        while True:
            try:
                sock = address.stream(0)
                break
            except Unavailable as error:
                if not isinstance(error.__cause__, BlockingIOError) or time.monotonic() >= until:
                    raise
            await asyncio.sleep(_AGAIN)
        connection = cls(address, agent, calls)
        try:
            await connection._loop.create_unix_connection(lambda: connection, sock=sock)
        except BaseException:
            sock.close()
            raise
        return connection

    # ---- of asyncio.Protocol

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport
        self.push()

    def data_received(self, data: bytes) -> None:
        session = self.session
        session.receive(data, time.monotonic())
        if session.out:
            self.push()
        if session.ended is not None and self._transport is not None:
            self._write()
            self._transport.close()

    def eof_received(self) -> Optional[bool]:
        self.session.lose(BrokerLost(f"the broker at {self.address} went away"))
        return None

    def connection_lost(self, exc: Optional[Exception]) -> None:
        reason = f": {exc}" if exc else ""
        self.session.lose(BrokerLost(f"the broker at {self.address} went away{reason}"))
        self._transport = None
        self.resume_writing()

    def pause_writing(self) -> None:
        self._is_full = True

    def resume_writing(self) -> None:
        self._is_full = False
        for resume in self._drained:
            resume()

    # ---- for its users

    def push(self) -> None:
        """Writes what there is: at once, or, beside other calls, together with what the other tasks write in this turn of the loop."""
        if not self.session.out or self._is_due:
            return
        if self.session.is_crowded:
            self._is_due = True
            self._loop.call_soon(self._write)
        else:
            self._write()

    def _write(self) -> None:
        self._is_due = False
        session, transport = self.session, self._transport
        if session.out and transport is not None:
            data = bytes(session.out)
            transport.write(data)
            session.wrote(len(data))

    async def drain(self) -> None:
        """Writes what there is, and waits while the broker takes nothing."""
        self.push()
        if len(self.session.out) > _MUCH:
            self._write()
        while self._is_full and self.session.ended is None:
            await changed(self._drained, None)

    async def outcome(self, pending: Pending, since: float, time_ms: int, bound: Optional[Inbound] = None) -> Body:
        """Waits for the end of a call. A task that is cancelled meanwhile cancels the call."""
        try:
            while pending.outcome is None:
                if bound is not None and bound.cancelled is not None:
                    raise bound.cancelled
                # The default of the broker comes with its welcome, maybe after the call was sent.
                until = since + default_seconds(time_ms, self.session.call_default_ms) + GRACE
                if time.monotonic() >= until or not await changed(pending.watchers, until, None if bound is None else bound.watchers):
                    if time.monotonic() < since + default_seconds(time_ms, self.session.call_default_ms):
                        continue
                    raise DeadlineExceeded("the broker doesn't answer in time")
        except BaseException:
            self.give_up(pending)
            raise
        return pending.result()

    def give_up(self, pending: Pending) -> None:
        self.session.cancel(pending)
        self.push()

    async def send_item(self, flow: Flow, body: Body, sign: float) -> None:
        """Sends an item, once the other side takes one."""
        while not self.session.send_item(flow, body):
            if not await changed(flow.watchers, time.monotonic() + sign):
                self.session.show_sign(flow)
                self.push()
        await self.drain()

    async def take_item(self, flow: Flow, sign: float, until: Optional[float] = None) -> Optional[Body]:
        """Waits for the next item; `None` at the end. Raises `TimeoutError` when the time has come."""
        while not flow.is_readable:
            signed = time.monotonic() + sign
            if not await changed(flow.watchers, signed if until is None else min(signed, until)):
                if until is not None and time.monotonic() >= until:
                    raise TimeoutError("no item came in time")
                self.session.show_sign(flow)
                self.push()
        try:
            return self.session.take_item(flow)
        finally:
            self.push()

    def close(self, text: str = "it was closed here") -> None:
        """Ends the connection: what is under way ends with `broker_lost`."""
        self._write()
        self.session.lose(BrokerLost(text))
        if self._transport is not None:
            self._transport.close()

    @property
    def is_alive(self) -> bool:
        return self.session.ended is None


async def changed(
    watchers: List[Callable[[], None]], until: Optional[float], others: Optional[List[Callable[[], None]]] = None
) -> bool:
    """Waits until one of them is told, or until a time on the clock of `time.monotonic`. False if the time has come."""
    loop = asyncio.get_running_loop()
    future: asyncio.Future[bool] = loop.create_future()

    def tell() -> None:
        if not future.done():
            future.set_result(True)

    def time_is_up() -> None:
        if not future.done():
            future.set_result(False)

    watchers.append(tell)
    if others is not None:
        others.append(tell)
    timer: Any = None if until is None else loop.call_later(max(0.0, until - time.monotonic()), time_is_up)
    try:
        return await future
    finally:
        for known in (watchers, others or []):
            if tell in known:  # an answered call has dropped its own
                known.remove(tell)
        if timer is not None:
            timer.cancel()
