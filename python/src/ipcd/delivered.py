"""What a call says of itself to the method that answers it, whichever way its methods wait."""

from __future__ import annotations

import time
from typing import ClassVar, Optional

from .body import Body
from .caller import Caller
from .inbound import Inbound


class Delivered:
    """A call that the broker has delivered."""

    _is_call: ClassVar[bool] = True

    def __init__(self, inbound: Inbound) -> None:
        self._inbound = inbound

    @property
    def service(self) -> str:
        """The name that was called, or `@N`."""
        return self._inbound.service

    @property
    def method(self) -> str:
        """The method; empty for the default method."""
        return self._inbound.method

    @property
    def body(self) -> Body:
        """The request as it came."""
        return self._inbound.body

    @property
    def caller(self) -> Caller:
        """Who called: stamped by the broker."""
        return self._inbound.caller

    @property
    def one_way(self) -> bool:
        """Whether the caller waits for no reply."""
        return self._inbound.one_way

    @property
    def trace(self) -> Optional[str]:
        """W3C trace context, as the caller sent it."""
        return self._inbound.trace

    @property
    def time_left(self) -> float:
        """Seconds that the caller will go on waiting. A call with streams has as much time again after each item of either side."""
        return max(0.0, self._inbound.deadline - time.monotonic())

    @property
    def has_items(self) -> bool:
        """Whether the caller sends items."""
        return self._inbound.flow is not None and self._inbound.flow.receives
