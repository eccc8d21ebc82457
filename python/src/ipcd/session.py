"""One connection without its socket: which calls are under way, what is to be written, what came in. It knows no clock, thread or
descriptor. A driver moves its bytes, tells it the time, and guards it.

    call, publish, answer, cancel -> out -> bytes -> wrote(n)
    receive(bytes) -> calls have ended | calls and cancels for a service | events | the connection has ended
    lose(...)      -> every call has ended, exactly once

Nothing that the broker sends can end a call twice: an id that isn't waited for is ignored. A frame that makes no sense ends the
connection.
"""

from __future__ import annotations

from collections import deque
from typing import Callable, Deque, Dict, List, Mapping, Optional, Tuple

from . import frame as wire
from .body import JSON, Body, Unreadable, dump, load
from .error import (
    BrokerLost,
    Cancelled,
    Error,
    Internal,
    NoMethod,
    ProtocolError,
    TooLarge,
    UsageError,
    received,
)
from .event import Event
from .feed import Feed
from .flow import WINDOW_BYTES, WINDOW_ITEMS, Flow
from .frame import Decoder, Frame, Violation
from .inbound import Inbound
from .pending import Pending, tell


class Session:
    """A client, and a service that takes a number of `calls` at once, on one connection."""

    def __init__(self, agent: str, calls: int = 0) -> None:
        #: Bytes to be written.
        self.out = bytearray()
        #: Why the connection has ended.
        self.ended: Optional[Error] = None
        #: Whether the broker has welcomed this side.
        self.is_welcome = False
        #: Whether the broker takes what is written.
        self.is_writable = True
        #: The number of this side: others call it as `@N`.
        self.peer = 0
        self.max_body = wire.MAX_BODY
        self.call_default_ms = wire.DEFAULT_TIMEOUT_MS
        #: Calls that were started since something last came: each may bring a reply, which must not pile up on the broker's side.
        self.unread_ends = 0
        #: Delivered calls that no method has begun.
        self.inbound: Deque[Inbound] = deque()
        #: Called when there is one more of them, or the connection has ended.
        self.watchers: List[Callable[[], None]] = []
        self._calls = calls
        self._decoder = Decoder()
        self._pending: Dict[int, Pending] = {}
        self._pings: Dict[int, Pending] = {}
        self._running: Dict[int, Inbound] = {}
        self._feeds: Dict[int, Feed] = {}
        self._last_id = 0
        self._queued = 0
        self._written = 0
        agent_name = agent.encode("utf-8", "replace")[: wire.MAX_NAME].decode("utf-8", "ignore").encode()
        hello = {wire.FEATURES: wire.u64(0), wire.VERSIONS: wire.u8s(1, 1), wire.AGENT: agent_name}
        self._push(Frame(wire.HELLO, fields=hello))

    # ---- calls

    def call(
        self,
        fields: Mapping[int, bytes],
        body: Body,
        *,
        time_ms: int = 0,
        flags: int = 0,
        kind: int = wire.CALL,
        keep: Optional[Tuple[str, int]] = None,
        undo: Optional[Tuple[str, bytes]] = None,
    ) -> Pending:
        """Starts a call, or publishes an event. One that wants no reply is paired with a ping: it ends when the broker refuses it, or has
        dealt with it.

        Raises `TooLarge`, `UsageError`, or why the connection has ended.
        """
        self._check(fields, body)
        self._last_id += 1
        pending = Pending(self._last_id)
        pending.keep, pending.undo = keep, undo
        if flags & (wire.REQUEST_STREAM | wire.REPLY_STREAM):
            up, down = bool(flags & wire.REQUEST_STREAM), bool(flags & wire.REPLY_STREAM)
            pending.flow = Flow(pending.id, False, sends=up, receives=down)
        self._push(
            Frame(
                kind,
                pending.id,
                flags=flags,
                time_ms=time_ms if kind == wire.CALL else 0,
                fields=fields,
                encoding=body.encoding,
                data=body.data,
            )
        )
        pending.leaves_at = self._queued
        self._pending[pending.id] = pending
        self.unread_ends += 1
        if flags & wire.ONE_WAY:
            self._pings[pending.id] = pending
            self._push(Frame(wire.PING, pending.id))
        if pending.flow is not None and pending.flow.receives:
            self._credit(pending.flow, WINDOW_ITEMS, WINDOW_BYTES)
        return pending

    def announce(self, fields: Mapping[int, bytes], body: Body, flags: int) -> None:
        """Publishes an event and waits for nothing. A refusal is dropped.

        Raises as `call`.
        """
        self._check(fields, body)
        self._last_id += 1
        kind, flags = wire.EVENT, flags | wire.ONE_WAY
        self._push(Frame(kind, self._last_id, flags=flags, fields=fields, encoding=body.encoding, data=body.data))

    def ask(self, operation: str, body: bytes) -> None:
        """Asks the broker for something and drops the answer."""
        if self.ended is None:
            self._last_id += 1
            fields = {wire.SERVICE: b"ipc", wire.METHOD: operation.encode()}
            self._push(Frame(wire.CALL, self._last_id, fields=fields, encoding=JSON, data=body))

    def ping(self) -> Pending:
        """Ends when the broker has dealt with everything that was sent before."""
        if self.ended is not None:
            raise self._gone()
        self._last_id += 1
        pending = self._pings[self._last_id] = Pending(self._last_id)
        self._push(Frame(wire.PING, pending.id))
        pending.leaves_at = self._queued
        return pending

    def cancel(self, pending: Pending) -> None:
        """The caller no longer waits. What the call may have brought about meanwhile is taken back."""
        if pending.outcome is not None or self.ended is not None:
            return
        self._pings.pop(pending.id, None)
        if pending.keep is not None:
            pending.is_abandoned = True  # its reply names a subscription that is to be ended
        else:
            self._pending.pop(pending.id, None)
        self._push(Frame(wire.CANCEL, pending.id, code=Cancelled.code))
        if pending.undo is not None:
            self.ask(*pending.undo)
        pending.end(Cancelled("the call was given up"))

    def unsubscribe(self, feed: Feed) -> None:
        """Ends a subscription: nothing more of it is kept."""
        for number, known in list(self._feeds.items()):
            if known is feed:
                del self._feeds[number]
                feed.ended = Error("the subscription was closed", safe=True)
                tell(feed.watchers)
                self.ask("unsubscribe", dump({"subscription": number}))

    # ---- streams, of either side

    def send_item(self, flow: Flow, body: Body) -> bool:
        """Sends an item, if the other side takes one now.

        Raises why nothing more can be sent, or `TooLarge`.
        """
        flow.check_sends()
        self._check_length(body)
        if not flow.spend(len(body.data)):
            return False
        self._push(Frame(wire.ITEM, flow.id, flags=_side(flow), encoding=body.encoding, data=body.data))
        return True

    def take_item(self, flow: Flow) -> Optional[Body]:
        """The next item, or `None` at the end. The flow is readable.

        Raises why the rest doesn't come.
        """
        item = flow.take()
        due = flow.due()
        if due is not None:
            self._credit(flow, *due)
        return item

    def finish(self, flow: Flow, failure: Optional[Error] = None) -> None:
        """The items of the request are complete, or will never be."""
        if not flow.sends or flow.over is not None:
            return
        flow.sends = False
        if flow.is_delivered:
            return
        if failure is None:
            self._push(Frame(wire.END, flow.id))
        else:
            fields = {wire.TEXT: wire.cut_text(failure.text)}
            detail = getattr(failure, "app_code", 0)
            self._push(Frame(wire.END, flow.id, code=failure.code, detail=detail, fields=fields))

    def welcome_items(self, flow: Flow) -> None:
        """Allows the first items of a delivered call."""
        if flow.receives:
            self._credit(flow, WINDOW_ITEMS, WINDOW_BYTES)

    def show_sign(self, flow: Flow) -> None:
        """Shows the other side that this one is there."""
        if flow.over is None:
            self._credit(flow, 0, 0)

    # ---- answers of a service

    def reply(self, inbound: Inbound, body: Body) -> None:
        """Answers a call. One that is too long is an error: the call has run."""
        if len(body.data) > self.max_body:
            text = f"the reply would take {len(body.data)} bytes, the limit is {self.max_body}; the call has run"
            return self.fail(inbound, Internal(text))
        self._answer(inbound, Frame(wire.REPLY, inbound.id, encoding=body.encoding, data=body.data))

    def fail(self, inbound: Inbound, error: Error) -> None:
        """Answers a call with an error. A value of the application that is too long is left out: the text says it all the same."""
        fields = {wire.TEXT: wire.cut_text(error.text)} if error.text else {}
        flags = wire.RETRY_SAFE if error.retry == "safe" else 0
        app_code = getattr(error, "app_code", 0)
        detail = app_code if isinstance(app_code, int) and 0 <= app_code < 2**32 else 0
        body = getattr(error, "body", None) or Body()
        if len(body.data) > self.max_body:
            body = Body()
        self._answer(
            inbound,
            Frame(
                wire.ERROR,
                inbound.id,
                flags=flags,
                code=error.code,
                detail=detail,
                fields=fields,
                encoding=body.encoding,
                data=body.data,
            ),
        )

    @property
    def is_crowded(self) -> bool:
        """Whether several calls are under way, so that more frames may leave soon."""
        return len(self._pending) + len(self._running) > 1

    @property
    def is_idle(self) -> bool:
        """Whether each delivered call was answered."""
        return not self._running

    def _answer(self, inbound: Inbound, frame: Frame) -> None:
        if inbound.is_answered:
            return
        inbound.is_answered = True
        self._running.pop(inbound.id, None)
        if inbound.flow is not None and inbound.flow.over is None:
            inbound.flow.over = UsageError("the call was answered", safe=False)
            tell(inbound.flow.watchers)
        self._push(frame)

    # ---- the driver

    def wrote(self, length: int) -> None:
        """Bytes of `out` have left."""
        del self.out[:length]
        self._written += length

    def cannot_write(self) -> None:
        """The broker takes nothing more; what it sent before may still be on its way."""
        self.is_writable = False
        self.out.clear()

    def receive(self, data: bytes, now: float) -> None:
        """Takes bytes of the broker, as they came at a time."""
        self.unread_ends = 0
        for frame in self._decoder.feed(data):
            if self.ended is None:
                try:
                    self._apply(frame, now)
                except Violation as violation:
                    self._violated(violation)
        if self._decoder.violation is not None:
            self._violated(self._decoder.violation)

    def lose(self, error: Error) -> None:
        """The connection has ended: all that is under way ends with this error. What never left has not run."""
        if self.ended is not None:
            return
        self.ended = error
        error.is_received = True
        pending = {**self._pings, **self._pending}
        self._pending, self._pings = {}, {}
        for one in pending.values():
            is_safe = one.leaves_at > self._written or error.retry == "safe"
            one.end(received(error.code, error.text, safe=is_safe))
        feeds, self._feeds = list(self._feeds.values()), {}
        for feed in feeds:
            feed.ended = feed.ended or error
            tell(feed.watchers)
        running, self._running = list(self._running.values()), {}
        self.inbound.clear()
        for inbound in running:
            self._cancel_inbound(inbound, received(error.code, error.text, safe=False))
        self.out.clear()
        tell(self.watchers)

    # ---- frames of the broker

    def _apply(self, frame: Frame, now: float) -> None:
        kind = frame.kind
        if kind == wire.GOODBYE:
            return self._closed_by(frame)
        if kind == wire.WELCOME and not self.is_welcome:
            return self._welcomed(frame)
        if not self.is_welcome:
            raise Violation(f"kind {kind} came before welcome")
        if kind == wire.REPLY:
            self._replied(frame)
        elif kind == wire.ERROR:
            self._refused(frame)
        elif kind == wire.CALL:
            self._delivered(frame, now)
        elif kind == wire.EVENT:
            self._happened(frame)
        elif kind == wire.PING:
            self._push(Frame(wire.PONG, frame.id))
        elif kind == wire.PONG:
            self._answered_ping(frame.id)
        elif kind == wire.CANCEL:
            self._cancelled(frame)
        elif kind in (wire.ITEM, wire.CREDIT, wire.END):
            self._flowed(frame, now)
        elif kind == wire.GAP:
            self._gap(frame)
        else:
            raise Violation(f"kind {kind} isn't sent by a broker")

    def _welcomed(self, frame: Frame) -> None:
        versions, peer, most = frame.fields.get(wire.VERSIONS), frame.number(wire.PEER), frame.number(wire.MAX_BODY_TAG)
        if versions is None or peer is None or most is None:
            raise Violation("a field of welcome is missing")
        if versions != b"\1\1":
            raise Violation(f"version {versions[1]} isn't spoken here")
        self.peer, self.max_body = peer, min(most, wire.MAX_BODY)
        self.call_default_ms = frame.number(wire.CALL_DEFAULT) or wire.DEFAULT_TIMEOUT_MS
        self.is_welcome = True
        tell(self.watchers)

    def _replied(self, frame: Frame) -> None:
        pending = self._pending.get(frame.id)
        if pending is None:
            return
        body = Body(frame.data, frame.encoding)
        number = None if pending.keep is None else _subscription(body)
        del self._pending[frame.id]
        self._pings.pop(frame.id, None)
        if pending.keep is not None and number is not None:
            if pending.is_abandoned:
                return self.ask("unsubscribe", dump({"subscription": number}))
            pending.feed = self._feeds[number] = Feed(*pending.keep)
        pending.end(body)

    def _refused(self, frame: Frame) -> None:
        pending = self._pending.pop(frame.id, None)
        if pending is None:
            return
        self._pings.pop(frame.id, None)
        pending.end(
            received(
                frame.code,
                frame.text(wire.TEXT),
                safe=bool(frame.flags & wire.RETRY_SAFE),
                app_code=frame.detail,
                body=frame.body,
                delivered=frame.number(wire.COUNT),
            )
        )

    def _answered_ping(self, id: int) -> None:
        pending = self._pings.pop(id, None)
        if pending is not None:
            self._pending.pop(id, None)
            pending.end(Body())

    def _delivered(self, frame: Frame, now: float) -> None:
        if wire.CALLER not in frame.fields or wire.SERVICE not in frame.fields or frame.id in self._running:
            raise Violation("a delivered call is not complete, or has come twice")
        if len(self._running) > self._calls + _SLACK:
            raise Violation(f"more calls were delivered than the {self._calls} that are taken at once")
        inbound = Inbound(frame, now + frame.time_ms / 1000)
        self._running[inbound.id] = inbound
        if not self._calls:
            return self.fail(inbound, NoMethod("this peer answers no calls"))
        self.inbound.append(inbound)
        tell(self.watchers)

    def _cancelled(self, frame: Frame) -> None:
        inbound = self._running.get(frame.id)
        if inbound is not None:
            texts = {19: "the caller has stopped waiting, or has gone", 18: "the deadline of the call has passed"}
            text = frame.text(wire.TEXT) or texts.get(frame.code, "the broker has ended the call")
            error = received(frame.code, text, safe=False, delivered=frame.number(wire.COUNT))
            self._cancel_inbound(inbound, error)

    def _cancel_inbound(self, inbound: Inbound, error: Error) -> None:
        inbound.cancelled = inbound.cancelled or error
        if inbound.flow is not None:
            inbound.flow.over = inbound.flow.over or error
            tell(inbound.flow.watchers)
        tell(inbound.watchers)

    def _happened(self, frame: Frame) -> None:
        if wire.TOPIC not in frame.fields:
            raise Violation("an event has no topic")
        feed = self._feeds.get(frame.id)
        if feed is not None:
            feed.push(Event.of(frame))
            tell(feed.watchers)

    def _gap(self, frame: Frame) -> None:
        lost = frame.number(wire.COUNT)
        if lost is None:
            raise Violation("a gap has no count")
        feed = self._feeds.get(frame.id)
        if feed is not None:
            feed.lose(lost)
            tell(feed.watchers)

    def _flowed(self, frame: Frame, now: float) -> None:
        flow = self._flow_of(frame)
        if flow is None or flow.over is not None:
            return
        if frame.kind == wire.CREDIT:
            count = frame.number(wire.COUNT)
            if count is None:
                raise Violation("a credit has no count")
            flow.allow(frame.detail, count)
        elif frame.kind == wire.ITEM and flow.receives and not flow.is_complete:
            if not flow.arrive(frame.body):
                raise Violation("an item came without credit")
        elif frame.kind == wire.END and flow.is_delivered:
            if frame.code:
                text = frame.text(wire.TEXT) or "the caller has no more items"
                flow.failure = received(frame.code, text, safe=False, app_code=frame.detail)
            else:
                flow.is_complete = True
        inbound = self._running.get(frame.id) if flow.is_delivered else None
        if inbound is not None:
            inbound.deadline = now + inbound.time_ms / 1000
        tell(flow.watchers)

    def _flow_of(self, frame: Frame) -> Optional[Flow]:
        # An end carries no flag: it only ever comes from the caller.
        if frame.flags & wire.DELIVERED or frame.kind == wire.END:
            inbound = self._running.get(frame.id)
            return None if inbound is None else inbound.flow
        pending = self._pending.get(frame.id)
        return None if pending is None else pending.flow

    def _closed_by(self, frame: Frame) -> None:
        text = frame.text(wire.TEXT)
        if self.is_welcome:
            self.lose(BrokerLost(f"the broker closed the connection: {text}"))
        else:
            self.lose(received(frame.code, f"the broker refused the connection: {text}", safe=True))

    def _violated(self, violation: Violation) -> None:
        if self.ended is None:
            if not self.out and self.is_writable:
                fields = {wire.TEXT: wire.cut_text(str(violation))}
                goodbye = Frame(wire.GOODBYE, code=ProtocolError.code, fields=fields).encode()
            else:
                goodbye = b""
            self.lose(ProtocolError(f"the broker broke the protocol: {violation}", safe=False))
            self.out += goodbye

    # ---- what leaves

    def _check(self, fields: Mapping[int, bytes], body: Body) -> None:
        if self.ended is not None:
            raise self._gone()
        self._check_length(body)
        if sum(len(value) + 3 for value in fields.values()) > wire.MAX_CALL_ROUTING:
            raise UsageError(f"names and trace context take more than {wire.MAX_CALL_ROUTING} bytes")

    def _check_length(self, body: Body) -> None:
        if len(body.data) > self.max_body:
            raise TooLarge(f"the body has {len(body.data)} bytes, the broker takes {self.max_body}")

    def _gone(self) -> Error:
        assert self.ended is not None
        return received(BrokerLost.code, f"the connection had ended: {self.ended.text}", safe=True)

    def _credit(self, flow: Flow, items: int, bytes: int) -> None:
        self._push(Frame(wire.CREDIT, flow.id, flags=_side(flow), detail=items, fields={wire.COUNT: wire.u64(bytes)}))

    def _push(self, frame: Frame) -> None:
        if self.ended is None:
            encoded = frame.encode()
            self._queued += len(encoded)
            if self.is_writable:
                self.out += encoded


#: Calls beyond the window of a service that may be on their way while it changes its registration.
_SLACK = 64


def _side(flow: Flow) -> int:
    return wire.DELIVERED if flow.is_delivered else 0


def _subscription(body: Body) -> int:
    try:
        number = load(body.data)["subscription"]
    except (Unreadable, TypeError, KeyError, IndexError):
        number = None
    if type(number) is not int or not 0 <= number < 2**64:
        raise Violation("the reply to a subscription names none")
    return number
