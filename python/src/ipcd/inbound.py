"""A call that the broker delivered, until it is answered."""

from __future__ import annotations

from typing import Callable, List, Optional

from .body import Body
from .caller import Caller
from .error import Error
from .flow import Flow
from .frame import CALLER, METHOD, ONE_WAY, REPLY_STREAM, REQUEST_STREAM, SERVICE, TRACE, Frame


class Inbound:
    """Knows no thread: its connection guards it."""

    def __init__(self, frame: Frame, deadline: float) -> None:
        self.watchers: List[Callable[[], None]] = []
        self.id = frame.id
        self.service = frame.text(SERVICE)
        self.method = frame.text(METHOD)
        self.body: Body = frame.body
        self.caller = Caller.of(frame.fields[CALLER])
        self.trace: Optional[str] = frame.text(TRACE) or None
        self.one_way = bool(frame.flags & ONE_WAY)
        #: Milliseconds that are left, or that both sides of a call with streams may be silent.
        self.time_ms = frame.time_ms
        #: When the caller stops waiting, on the clock of its driver.
        self.deadline = deadline
        #: Why the answer is no longer wanted.
        self.cancelled: Optional[Error] = None
        self.is_answered = False
        up, down = bool(frame.flags & REQUEST_STREAM), bool(frame.flags & REPLY_STREAM)
        self.flow = Flow(frame.id, True, sends=down, receives=up) if up or down else None

    @property
    def target(self) -> str:
        return f"{self.service}.{self.method}" if self.method else self.service
