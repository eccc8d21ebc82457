"""The events of one subscription that the program hasn't taken yet: bounded, with what was lost counted in its place."""

from __future__ import annotations

from collections import OrderedDict
from typing import Callable, List, Optional, Union

from .error import Busy, Error
from .event import Event, Gap

#: Bytes of bodies that wait for the program, at most.
MOST_BYTES = 4 * 1024 * 1024
POLICIES = ("drop-oldest", "drop-newest", "latest", "cut")


class _Entry:
    __slots__ = ("event", "lost")

    def __init__(self, event: Event, lost: int) -> None:
        self.event = event
        #: Events that were lost right before it.
        self.lost = lost


class Feed:
    """Events in the order in which they came. Knows no thread: its connection guards it."""

    def __init__(self, policy: str, queue: int) -> None:
        self.watchers: List[Callable[[], None]] = []
        #: Why no more will come: said once the events before it are taken.
        self.ended: Optional[Error] = None
        self._policy = policy
        self._queue = max(queue, 1)
        self._waiting: OrderedDict[int, _Entry] = OrderedDict()
        self._topics: dict[str, int] = {}
        self._bytes = 0
        self._place = 0
        self._lost = 0  # behind the last that waits

    def push(self, event: Event) -> None:
        """Takes an event in."""
        if self.ended is not None:
            return
        if self._policy == "latest" and event.topic in self._topics:
            self._lose_at(self._topics[event.topic])
        while self._waiting and self._is_full(len(event.body.data)):
            if self._policy == "drop-newest":
                return self.lose(1)
            if self._policy == "cut":
                self.ended = Busy(f"more than {self._queue} events waited to be taken")
                return
            self._lose_at(next(iter(self._waiting)))
        self._place += 1
        self._waiting[self._place] = _Entry(event, self._lost)
        self._lost = 0
        self._bytes += len(event.body.data)
        if self._policy == "latest":
            self._topics[event.topic] = self._place

    def lose(self, events: int) -> None:
        """Events were lost behind the last one."""
        self._lost += events

    def take(self) -> Union[Event, Gap, None]:
        """The next thing to tell; `None` if there is nothing yet."""
        if not self._waiting:
            lost, self._lost = self._lost, 0
            return Gap(lost) if lost else None
        place, first = next(iter(self._waiting.items()))
        if first.lost:
            lost, first.lost = first.lost, 0
            return Gap(lost)
        self._forget(place, first.event)
        return first.event

    @property
    def is_empty(self) -> bool:
        """Whether there is nothing to tell."""
        return not self._waiting and not self._lost and self.ended is None

    def _is_full(self, more: int) -> bool:
        return len(self._waiting) >= self._queue or self._bytes + more > MOST_BYTES

    def _lose_at(self, place: int) -> None:
        entry = self._waiting[place]
        behind = next((at for at in self._waiting if at > place), None) if place != self._place else None
        self._forget(place, entry.event)
        if behind is None:
            self._lost += entry.lost + 1
        else:
            self._waiting[behind].lost += entry.lost + 1

    def _forget(self, place: int, event: Event) -> None:
        del self._waiting[place]
        self._bytes -= len(event.body.data)
        if self._topics.get(event.topic) == place:
            del self._topics[event.topic]
