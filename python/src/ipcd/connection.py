"""A connection that threads share. There is no thread of its own: one that waits reads, for all of them, and hands on when it has what it
waited for."""

from __future__ import annotations

import os
import select
import socket
import sys
import threading
import time
import warnings
from typing import Callable, Optional

from . import fork
from .address import Address
from .body import Body
from .error import BrokerLost, DeadlineExceeded, Error
from .flow import Flow
from .inbound import Inbound
from .methods import default_seconds
from .pending import Pending
from .session import Session

#: How much longer than the deadline a caller waits for the broker to say that it has passed.
GRACE = 1.0
_READ = 65_536
#: Calls that are started before what came meanwhile is read.
_CROWD = 16


def own_name() -> str:
    """What the list of peers shows, unless the program says otherwise."""
    return os.path.basename(sys.argv[0] or "python") or "python"


class Connection:
    """Every method may be called by any thread."""

    def __init__(self, address: Address, agent: str, patience: float, calls: int = 0) -> None:
        self.address = address
        self.session = Session(agent, calls)
        #: Guards the session and everything below it; threads that wait while another one reads wait here.
        self.changed = threading.Condition(threading.Lock())
        self._socket = address.stream(patience)
        self._is_read = False
        self._waiting = 0
        self._poll = select.poll()
        self._poll.register(self._socket, select.POLLIN)
        self._polled = select.POLLIN
        self._wake_reader, self._wake_writer = -1, -1
        fork.watch(self)

    # ---- with the lock held

    def flush(self, until: Optional[float] = None) -> None:
        """Writes what there is. While the broker takes nothing, it reads, so that neither waits for the other."""
        session = self.session
        if session.out:
            self._write()
        while session.out and session.ended is None:
            left = None if until is None else until - time.monotonic()
            if left is not None and left <= 0:
                return
            if self._is_read:
                self._wait_writable(left)
            else:
                self._read(left)
            self._write()

    def wait(self, is_ready: Callable[[], bool], until: Optional[float] = None) -> bool:
        """Waits until there is what is waited for, or until a time. False if the time has come. All waits end with the connection."""
        while not is_ready():
            left = None if until is None else until - time.monotonic()
            if left is not None and left <= 0:
                return False
            if self.session.ended is not None:
                return is_ready()
            if self._is_read:
                self._waiting += 1
                try:
                    self.changed.wait(left)
                finally:
                    self._waiting -= 1
            else:
                self._read(left)
        return True

    def look(self) -> bool:
        """Takes what has come, without waiting. False if there was nothing, or another thread reads."""
        return not self._is_read and self.session.ended is None and self._read(0)

    def catch_up(self) -> None:
        """Takes all that has come, if many calls were started and nothing was read."""
        if self.session.unread_ends >= _CROWD:
            while self.look():
                pass

    # ---- without it

    def outcome(self, pending: Pending, since: float, time_ms: int, bound: Optional[Inbound] = None) -> Body:
        """Waits for the end of a call. One that is made on behalf of another ends with that."""
        with self.changed:
            try:

                def is_ready() -> bool:
                    return pending.outcome is not None or (bound is not None and bound.cancelled is not None)

                # The default of the broker comes with its welcome, maybe after the call was sent.
                until = 0.0
                while until < self._patience(since, time_ms):
                    until = self._patience(since, time_ms)
                    if self.wait(is_ready, until):
                        break
                else:
                    self.give_up(pending)
                    raise DeadlineExceeded("the broker doesn't answer in time")
                if pending.outcome is None and bound is not None and bound.cancelled is not None:
                    self.give_up(pending)
                    raise bound.cancelled
            except BaseException:
                self.give_up(pending)  # by KeyboardInterrupt, too
                raise
            return pending.result()

    def _patience(self, since: float, time_ms: int) -> float:
        """When a call is given up here, should the broker not keep its deadline."""
        return since + default_seconds(time_ms, self.session.call_default_ms) + GRACE

    def give_up(self, pending: Pending) -> None:
        """Cancels a call, with the lock held."""
        self.session.cancel(pending)
        self._write()

    def send_item(self, flow: Flow, body: Body, sign: float) -> None:
        """Sends an item, once the other side takes one."""
        with self.changed:
            while not self.session.send_item(flow, body):

                def is_ready() -> bool:
                    return bool(flow.over or not flow.sends or (flow.items > 0 and flow.bytes > 0))

                if not self.wait(is_ready, time.monotonic() + sign):
                    self.session.show_sign(flow)
                    self.flush(time.monotonic() + sign)
            self.flush()

    def take_item(self, flow: Flow, sign: float, until: Optional[float] = None) -> Optional[Body]:
        """Waits for the next item; `None` at the end. Raises `TimeoutError` when the time has come."""
        with self.changed:
            while True:
                signed = time.monotonic() + sign
                if self.wait(lambda: flow.is_readable, signed if until is None else min(signed, until)):
                    break
                if until is not None and time.monotonic() >= until:
                    raise TimeoutError("no item came in time")
                self.session.show_sign(flow)
                self.flush(time.monotonic() + sign)
            try:
                return self.session.take_item(flow)
            finally:
                self._write()

    def close(self, text: str = "it was closed here") -> None:
        """Ends the connection: what is under way ends with `broker_lost`."""
        with self.changed:
            self._end(BrokerLost(text))
            self._close_socket()

    def forked(self) -> None:
        """In the child: the connection is the parent's, and the next call of a client makes one of its own."""
        self.changed = threading.Condition(threading.Lock())
        self._is_read = False
        self._waiting = 0
        self.session.lose(BrokerLost("the connection belongs to the process that has forked this one"))
        with self.changed:
            self._close_socket()

    def __del__(self) -> None:
        sock = getattr(self, "_socket", None)
        if sock is not None and sock.fileno() >= 0:
            warnings.warn(f"a connection to {self.address} was not closed", ResourceWarning, source=self)
            self._is_read = False
            self._close_socket()

    @property
    def is_alive(self) -> bool:
        """Whether it has not ended, as far as can be known without asking the broker."""
        with self.changed:
            self.look()
            return self.session.ended is None

    # ---- waking the thread that reads, from a signal handler too

    def make_wakeable(self) -> None:
        self._wake_reader, self._wake_writer = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
        self._poll.register(self._wake_reader, select.POLLIN)

    def wake(self) -> None:
        """The thread that reads looks up from it. Takes no lock."""
        try:
            os.write(self._wake_writer, b"w")
        except OSError:
            pass  # it is full, or closed

    # ---- the socket

    def _write(self) -> None:
        session = self.session
        try:
            while session.out:
                session.wrote(self._socket.send(session.out, socket.MSG_NOSIGNAL))
        except BlockingIOError:
            pass
        except OSError:
            session.cannot_write()
        except BaseException:  # as KeyboardInterrupt: what was sent may not be counted, and must not be sent again
            self._interrupted()
            raise

    def _read(self, left: Optional[float]) -> bool:
        """Reads once, without the lock, for at most `left` seconds. False if nothing came."""
        events = select.POLLIN | select.POLLOUT if self.session.out else select.POLLIN
        if events != self._polled:
            self._poll.modify(self._socket, events)
            self._polled = events
        self._is_read = True
        data: Optional[bytes] = None
        error: Optional[OSError] = None
        is_taking = False
        self.changed.release()
        try:
            if self._poll.poll(None if left is None else -int(-left * 1000 // 1)):
                is_taking = True
                data = self._socket.recv(_READ)
            is_taking = False
        except BlockingIOError:
            is_taking = False
        except OSError as failed:
            is_taking, error = False, failed
        finally:
            self.changed.acquire()
            self._is_read = False
            if is_taking and data is None:  # by KeyboardInterrupt, when something may have been read already
                self._interrupted()
            self._took(data, error)
        return bool(data)

    def _interrupted(self) -> None:
        self._end(BrokerLost("the program was interrupted in the middle of reading or writing, and connects again"))
        self._close_socket()

    def _took(self, data: Optional[bytes], error: Optional[OSError]) -> None:
        if data:
            self.session.receive(data, time.monotonic())
            if self.session.out:
                self._write()
        elif data is not None:
            self._end(BrokerLost(f"the broker at {self.address} went away"))
        elif error is not None:
            self._end(BrokerLost(f"the broker at {self.address} went away: {error.strerror}"))
        if self._wake_reader >= 0:
            self._silence()
        if self.session.ended is not None:
            self._close_socket()
        if self._waiting:
            self.changed.notify_all()

    def _silence(self) -> None:
        try:
            os.read(self._wake_reader, 512)
        except OSError:
            pass

    def _wait_writable(self, left: Optional[float]) -> None:
        """While another thread reads."""
        poll = select.poll()
        poll.register(self._socket, select.POLLOUT)
        self.changed.release()
        try:
            poll.poll(None if left is None else -int(-left * 1000 // 1))
        finally:
            self.changed.acquire()

    def _end(self, error: Error) -> None:
        self.session.lose(error)
        self.changed.notify_all()

    def _close_socket(self) -> None:
        """The thread that reads closes it, if there is one: no other socket may get its number meanwhile."""
        if self._socket.fileno() < 0:
            return
        if self._is_read:
            try:
                self._socket.shutdown(socket.SHUT_RDWR)
            except OSError:
                pass
            return
        self._poll.unregister(self._socket)
        self._socket.close()
        if self._wake_reader >= 0:
            self._poll.unregister(self._wake_reader)
            reader, writer = self._wake_reader, self._wake_writer
            self._wake_reader = self._wake_writer = -1
            os.close(reader)
            os.close(writer)
