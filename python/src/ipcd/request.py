"""What is sent: a call or an event, put together from what a program says. The same for a blocking client and one with asyncio."""

from __future__ import annotations

from typing import Any, Dict, NamedTuple, Optional, Tuple

from . import frame as wire
from . import name as names
from .body import JSON, Body, Unreadable, dump
from .error import BrokerLost, Busy, DeadlineExceeded, Error, Invalid, ProtocolError, Unavailable, UsageError
from .feed import POLICIES
from .inbound import Inbound
from .methods import to_ms


class _Nothing:
    def __repr__(self) -> str:
        return "NOTHING"


#: The argument of a call that has none: an empty body.
NOTHING: Any = _Nothing()


class Request(NamedTuple):
    """Arguments of `Session.call`."""

    fields: Dict[int, bytes]
    body: Body
    time_ms: int = 0
    flags: int = 0
    kind: int = wire.CALL
    keep: Optional[Tuple[str, int]] = None
    undo: Optional[Tuple[str, bytes]] = None


def call(
    target: str,
    argument: Any,
    method: Optional[str],
    timeout: Optional[float],
    trace: Optional[str],
    flags: int = 0,
) -> Request:
    """A call. Raises `UsageError` or `Invalid`."""
    fields = names.target(target, method)
    if trace is not None:
        fields[wire.TRACE] = trace.encode()
    return Request(fields, body_of(argument), to_ms(timeout), flags)


def operation(verb: str, timeout: Optional[float] = None, /, **members: Any) -> Request:
    """A call of the broker's own service."""
    fields = {wire.SERVICE: b"ipc", wire.METHOD: verb.encode()}
    given = {member: value for member, value in members.items() if value is not None}
    return Request(fields, Body(dump(given), JSON), to_ms(timeout))


def event(topic: str, value: Any, retain: bool, trace: Optional[str]) -> Request:
    """An event. Raises `UsageError` or `Invalid`."""
    fields = {wire.TOPIC: names.service(topic).encode()}
    if trace is not None:
        fields[wire.TRACE] = trace.encode()
    return Request(fields, body_of(value), flags=wire.RETAINED if retain else 0, kind=wire.EVENT)


def subscription(pattern: str, policy: str, queue: int, last: bool) -> Request:
    """A subscription. Raises `UsageError`."""
    if policy not in POLICIES:
        raise UsageError(f"{policy!r} isn't a policy: {', '.join(POLICIES)}")
    if queue < 1:
        raise UsageError("the queue of a subscription has at least one place")
    asked = operation("subscribe", pattern=names.pattern(pattern), policy=policy, queue=queue, last=last)
    return asked._replace(keep=(policy, queue))


def lock(name: str, places: int, wait: bool, timeout: Optional[float]) -> Request:
    """A lock. Raises `UsageError`."""
    if places < 1:
        raise UsageError("a lock has at least one place")
    asked = operation("lock", timeout, name=names.service(name), places=places, wait=wait)
    return asked._replace(undo=("unlock", dump({"name": name})))


def within(asked: Request, bound: Optional[Inbound], now: float) -> Request:
    """A call on behalf of another, which it doesn't outlast unless that one has streams. Raises why that one has ended."""
    if bound is None or bound.flow is not None:
        return asked
    if bound.cancelled is not None:
        raise bound.cancelled
    left = max(1, int((bound.deadline - now) * 1000))
    return asked._replace(time_ms=min(asked.time_ms, left) if asked.time_ms else left)


def stream_flags(send: bool, receive: bool) -> int:
    """Raises `UsageError` for a call without a stream."""
    if not (send or receive):
        raise UsageError("a call with streams sends items, receives some, or both")
    return (wire.REQUEST_STREAM if send else 0) | (wire.REPLY_STREAM if receive else 0)


def body_of(argument: Any) -> Body:
    """Raises `Invalid` for a value that has no form in JSON."""
    if argument is NOTHING:
        return Body()
    try:
        return Body.of(argument)
    except Unreadable as error:
        raise Invalid(str(error)) from None


def value_of(body: Body) -> Any:
    """Raises `Invalid` for a reply that isn't what its encoding says; the call has run."""
    try:
        return body.value()
    except Unreadable as error:
        raise Invalid(str(error), safe=False) from None


def member_of(body: Body, name: str) -> Any:
    """A member of an answer of the broker. Raises `ProtocolError`."""
    value = value_of(body)
    if not isinstance(value, dict) or name not in value:
        raise ProtocolError(f"the broker's answer has no member '{name}'", safe=False)
    return value[name]


def is_passing(error: Error) -> bool:
    """Whether to try again later: while there is no broker, or one that is overloaded."""
    return isinstance(error, (Unavailable, BrokerLost, Busy, DeadlineExceeded))
