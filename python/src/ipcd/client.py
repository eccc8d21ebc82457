"""A client that blocks."""

from __future__ import annotations

import time
from typing import Any, List, Optional, Union

from . import frame as wire
from . import request
from .address import Address
from .body import Body
from .connection import Connection, own_name
from .error import BrokerLost
from .inbound import Inbound
from .line import Line
from .lock import Lock
from .pending import Pending
from .request import NOTHING, Request
from .stream import Stream
from .subscription import Subscription

#: How long to wait for a broker that is too busy to accept a connection, in seconds.
PATIENCE = 5.0


class Client:
    """Calls services, publishes, subscribes and takes locks.

    Threads may share a client, and each can have calls in flight: whichever thread waits reads for all of them. There is no thread
    of its own. A process that forks makes a new client in the child.

    When the broker has gone, what was under way ends with `BrokerLost`, and the next call connects again. A call that may have run is
    never repeated. Times are in seconds; without one, a call has the broker's default, 30 s unless it is configured otherwise.
    """

    def __init__(
        self, address: Union[str, Address, None] = None, *, agent: Optional[str] = None, patience: float = PATIENCE
    ) -> None:
        """Connects to the broker that the environment points to, or to an address.

        Raises `Unavailable` or `Denied`.
        """
        where = Address(address) if isinstance(address, str) else address or Address.find()
        line = Line(where, own_name() if agent is None else agent, patience)
        line.connect()
        self._line = line
        self._bound: Optional[Inbound] = None

    @classmethod
    def _on(cls, line: Line, bound: Optional[Inbound] = None) -> Client:
        client = cls.__new__(cls)
        client._line, client._bound = line, bound
        return client

    # ---- calls

    def call(
        self,
        target: str,
        argument: Any = NOTHING,
        *,
        method: Optional[str] = None,
        timeout: Optional[float] = None,
        trace: Optional[str] = None,
    ) -> Any:
        """Calls `service.method`, and waits for the reply.

        `bytes` travel as they are, a `Body` in its encoding, any other argument in JSON. A reply in JSON is returned as its value,
        bytes as `bytes`, any other as a `Body`. Raises the `Error` that the call ends with.
        """
        return self.start(target, argument, method=method, timeout=timeout, trace=trace).wait()

    def start(
        self,
        target: str,
        argument: Any = NOTHING,
        *,
        method: Optional[str] = None,
        timeout: Optional[float] = None,
        trace: Optional[str] = None,
    ) -> Ticket:
        """Starts a call and returns at once. Any number may be under way, up to the broker's limit."""
        return self._submit(request.call(target, argument, method, timeout, trace))

    def notify(
        self, target: str, argument: Any = NOTHING, *, method: Optional[str] = None, trace: Optional[str] = None
    ) -> None:
        """Makes a call that is not answered. Returns when the broker has accepted it, and raises why if it hasn't."""
        self._submit(request.call(target, argument, method, None, trace, wire.ONE_WAY)).body()

    def stream(
        self,
        target: str,
        argument: Any = NOTHING,
        *,
        send: bool = False,
        receive: bool = True,
        method: Optional[str] = None,
        timeout: Optional[float] = None,
        trace: Optional[str] = None,
    ) -> Stream:
        """Starts a call that carries items: of the caller with `send`, of the service with `receive`. `timeout` is how long both sides
        may be silent. To be used in a `with`, which cancels a call that has not ended."""
        flags = request.stream_flags(send, receive)
        ticket = self._submit(request.call(target, argument, method, timeout, trace, flags))
        return Stream(ticket._connection, ticket._pending, ticket._time_ms)

    def ping(self) -> None:
        """A round trip to the broker: it has dealt with everything that was sent before."""
        self._ping()

    # ---- events

    def publish(self, topic: str, value: Any = NOTHING, *, retain: bool = False, trace: Optional[str] = None) -> int:
        """Publishes an event, and returns the number of subscriptions that it was sent to. With `retain` the broker keeps it as the last
        of its topic; `clear` forgets it."""
        answer = self._submit(request.event(topic, value, retain, trace)).body()
        return int(request.member_of(answer, "subscribers"))

    def clear(self, topic: str) -> None:
        """Forgets the event that is kept of a topic."""
        self.publish(topic, retain=True)

    def announce(self, topic: str, value: Any = NOTHING, *, retain: bool = False, trace: Optional[str] = None) -> None:
        """Publishes an event and waits for nothing. If the broker refuses it, it is dropped."""
        asked = request.event(topic, value, retain, trace)
        for attempt in (1, 2):
            connection = self._line.live()
            with connection.changed:
                if connection.session.ended is None:
                    connection.session.announce(asked.fields, asked.body, asked.flags)
                    connection.flush()
                    if connection.session.is_writable or attempt == 2:
                        return

    def subscribe(
        self, pattern: str, *, policy: str = "drop-oldest", queue: int = 1024, last: bool = False
    ) -> Subscription:
        """Subscribes to the topics of a pattern. `policy` says which events are lost when more than `queue` wait: `drop-oldest`,
        `drop-newest`, `latest` or `cut`. With `last` the kept events come first. To be used in a `with`, which unsubscribes."""
        return Subscription(self, request.subscription(pattern, policy, queue, last))

    # ---- locks, and what the broker knows

    def lock(self, name: str, *, places: int = 1, timeout: Optional[float] = None) -> Lock:
        """Takes a lock, and waits for it in order of arrival. To be used in a `with`, which gives it back.

        A lock belongs to the connection, which all threads with this client share: threads of one process use a `threading.Lock`.
        """
        return self._lock(request.lock(name, places, True, timeout), name)

    def try_lock(self, name: str, *, places: int = 1) -> Lock:
        """Takes a lock if it is free. Raises `Busy` if it isn't."""
        return self._lock(request.lock(name, places, False, None), name)

    def names(self, pattern: Optional[str] = None) -> List[str]:
        """The names on offer, sorted."""
        found: List[str] = []
        after: Optional[str] = None
        while True:
            page = request.value_of(self._submit(request.operation("list", pattern=pattern, after=after)).body())
            found += page["names"]
            after = page.get("next")
            if after is None:
                return found

    def wait_for(self, name: str, *, gone: bool = False, timeout: Optional[float] = None) -> None:
        """Waits until a name is on offer, or is no more. Raises `DeadlineExceeded`."""
        self._submit(request.operation("wait", timeout, name=name, gone=gone)).body()

    def unbound(self) -> Client:
        """This client, without the deadline and the cancellation of the call that it was given for."""
        return Client._on(self._line)

    @property
    def peer(self) -> int:
        """The number of this connection: others call it as `@N` if it serves."""
        return self._ping().session.peer

    def close(self) -> None:
        """Ends the connection: what is under way ends with `BrokerLost`."""
        self._line.close()

    def __enter__(self) -> Client:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    # ---- inside

    def _ping(self) -> Connection:
        connection = self._line.live()
        since = time.monotonic()
        with connection.changed:
            pending = connection.session.ping()
            connection.flush(since + PATIENCE)
        connection.outcome(pending, since, 0, self._bound)
        return connection

    def _lock(self, asked: Request, name: str) -> Lock:
        ticket = self._submit(asked)
        ticket.body()
        return Lock(ticket._connection, name)

    def _submit(self, asked: Request) -> Ticket:
        """Sends a call. One that could not leave is sent again on a new connection, once."""
        since = time.monotonic()
        asked = request.within(asked, self._bound, since)
        for attempt in (1, 2):
            connection = self._line.live()
            with connection.changed:
                connection.catch_up()
                try:
                    pending = connection.session.call(**asked._asdict())
                except BrokerLost:
                    if attempt == 2:
                        raise
                    continue
                self._leave(connection, pending, since, asked.time_ms)
            if attempt == 1 and _has_not_left(pending) and self._line.may_come_back:
                continue
            return Ticket(connection, pending, since, asked.time_ms, self._bound)
        raise AssertionError("the second attempt returns or raises")

    def _leave(self, connection: Connection, pending: Pending, since: float, time_ms: int) -> None:
        try:
            connection.flush(since + time_ms / 1000 if time_ms else None)
            if not connection.session.is_writable:  # it is known why, once what the broker had sent is read
                connection.wait(lambda: connection.session.ended is not None, since + PATIENCE)
        except BaseException:
            connection.give_up(pending)
            raise


class Ticket:
    """A call that is under way."""

    def __init__(
        self, connection: Connection, pending: Pending, since: float, time_ms: int, bound: Optional[Inbound]
    ) -> None:
        self._connection = connection
        self._pending = pending
        self._since = since
        self._time_ms = time_ms
        self._bound = bound

    def wait(self) -> Any:
        """Waits for the reply, as `Client.call` does."""
        return request.value_of(self.body())

    def body(self) -> Body:
        """Waits for the reply, and returns it as it is on the wire."""
        return self._connection.outcome(self._pending, self._since, self._time_ms, self._bound)

    @property
    def is_done(self) -> bool:
        """Whether `wait` returns at once."""
        with self._connection.changed:
            if self._pending.outcome is None:
                self._connection.look()
            return self._pending.outcome is not None

    def cancel(self) -> None:
        """Gives the call up: its service is told."""
        with self._connection.changed:
            self._connection.give_up(self._pending)


def _has_not_left(pending: Pending) -> bool:
    outcome = pending.outcome
    return isinstance(outcome, BrokerLost) and not outcome.may_have_run
