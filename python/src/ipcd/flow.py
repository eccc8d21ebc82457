"""One side's end of a call with streams: what it may send, what came and wasn't taken, and what it allows the other side."""

from __future__ import annotations

from collections import deque
from typing import Callable, Deque, List, Optional

from .body import Body
from .error import Error, UsageError

#: Items that the other side may send before the program takes any, and bytes of their bodies.
WINDOW_ITEMS = 64
WINDOW_BYTES = 256 * 1024


class Flow:
    """Knows no frame and no thread: the session moves what it says, and the connection guards it."""

    def __init__(self, id: int, is_delivered: bool, sends: bool, receives: bool) -> None:
        self.watchers: List[Callable[[], None]] = []
        #: The number of the call in frames, and whether it is the broker's.
        self.id = id
        self.is_delivered = is_delivered
        self.sends = sends
        self.receives = receives
        self.items = 0
        self.bytes = 0
        self.arrived: Deque[Body] = deque()
        #: Whether the items of the other side are complete.
        self.is_complete = not receives
        #: Why they never will be.
        self.failure: Optional[Error] = None
        #: Why nothing more is sent or taken: the call is over.
        self.over: Optional[Error] = None
        self._arrived_bytes = 0
        self._taken_items = 0
        self._taken_bytes = 0

    def arrive(self, item: Body) -> bool:
        """Takes an item in. False if it came without credit."""
        if len(self.arrived) >= WINDOW_ITEMS or self._arrived_bytes >= WINDOW_BYTES:
            return False
        self.arrived.append(item)
        self._arrived_bytes += len(item.data)
        return True

    def allow(self, items: int, bytes: int) -> None:
        """The other side takes more."""
        self.items = min(self.items + items, 2**32 - 1)
        self.bytes = min(self.bytes + bytes, 2**53)

    def spend(self, length: int) -> bool:
        """Whether an item may be sent now. Takes its place if so."""
        if self.items == 0 or self.bytes <= 0:
            return False
        self.items -= 1
        self.bytes -= length
        return True

    def check_sends(self) -> None:
        """Raises why nothing more can be sent."""
        if self.over is not None:
            raise self.over
        if not self.sends:
            raise UsageError("this call has no stream in this direction, or it was finished", safe=False)

    @property
    def is_readable(self) -> bool:
        """Whether there is an item to take, or an end to tell."""
        return bool(self.arrived or self.is_complete or self.failure or self.over)

    def take(self) -> Optional[Body]:
        """The next item, or `None` at the end. Raises why there is no end."""
        if self.arrived and not (self.is_delivered and self.over):
            item = self.arrived.popleft()
            self._arrived_bytes -= len(item.data)
            self._taken_items += 1
            self._taken_bytes += len(item.data)
            return item
        if self.over is not None:
            raise self.over
        if self.failure is not None:
            raise self.failure
        return None

    def due(self) -> Optional["tuple[int, int]"]:
        """Items and bytes that the other side is to be allowed in the place of those that were taken, once they are worth a frame."""
        if self.is_complete or self.failure or self.over:
            return None
        if self._taken_items < WINDOW_ITEMS // 2 and self._taken_bytes < WINDOW_BYTES // 2:
            return None
        taken = self._taken_items, self._taken_bytes
        self._taken_items = self._taken_bytes = 0
        return taken
