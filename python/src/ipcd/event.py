"""What a subscription tells: an event, a gap, or that the broker was away."""

from __future__ import annotations

from typing import Any, NamedTuple, Optional, Union

from .body import Body
from .caller import Caller
from .frame import CALLER, RETAINED, SEQUENCE, TOPIC, TRACE, Frame


class Event(NamedTuple):
    """A published event."""

    topic: str
    body: Body
    #: Who published it; `None` if the broker did.
    publisher: Optional[Caller]
    #: The publisher's number of it; `None` where the publisher has no connection.
    sequence: Optional[int]
    #: Whether the broker had kept it: it isn't delivered as it was published.
    retained: bool
    #: W3C trace context, as its publisher sent it.
    trace: Optional[str]

    @property
    def value(self) -> Any:
        """What was published: a value of JSON, bytes, or a `Body` in another encoding.

        Raises `ValueError` for JSON that isn't.
        """
        return self.body.value()

    @classmethod
    def of(cls, frame: Frame) -> Event:
        stamp = frame.fields.get(CALLER)
        return cls(
            frame.text(TOPIC),
            frame.body,
            None if stamp is None else Caller.of(stamp),
            frame.number(SEQUENCE),
            bool(frame.flags & RETAINED),
            frame.text(TRACE) or None,
        )


class Gap(NamedTuple):
    """Events were lost here: this program was too slow."""

    lost: int


class Resumed(NamedTuple):
    """The broker was away, and the subscription is back. Events may have been missed."""

    def __bool__(self) -> bool:
        return True  # it is a notice, as the others are, although it says nothing more


Notice = Union[Event, Gap, Resumed]
