"""A call that is under way, on the side of its caller."""

from __future__ import annotations

from typing import Callable, List, Optional, Tuple, Union

from .body import Body
from .error import Error
from .feed import Feed
from .flow import Flow

Outcome = Union[Body, Error]


class Pending:
    """Ends exactly once, with a body or an error. Knows no thread: its connection guards it."""

    __slots__ = ("id", "outcome", "watchers", "flow", "feed", "keep", "undo", "leaves_at", "is_abandoned")

    def __init__(self, id: int) -> None:
        self.id = id
        self.outcome: Optional[Outcome] = None
        #: Called when it has ended.
        self.watchers: List[Callable[[], None]] = []
        #: The streams of the call, if it has any.
        self.flow: Optional[Flow] = None
        #: The subscription that its reply began.
        self.feed: Optional[Feed] = None
        #: Policy and queue of a subscription that its reply begins.
        self.keep: Optional[Tuple[str, int]] = None
        #: Operation and body that take back what the call has brought about, if it is given up: a lock that was granted meanwhile.
        self.undo: Optional[Tuple[str, bytes]] = None
        #: Bytes of the connection up to its end: once they have left, the call may have run.
        self.leaves_at = 0
        self.is_abandoned = False

    def end(self, outcome: Outcome) -> None:
        if self.outcome is None:
            self.outcome = outcome
            if self.flow is not None:
                self.flow.sends = False
                if isinstance(outcome, Error):
                    self.flow.over = outcome
                else:
                    self.flow.is_complete = True
                tell(self.flow.watchers)
            tell(self.watchers)

    def result(self) -> Body:
        """The reply. Raises the error that it ended with."""
        if isinstance(self.outcome, Error):
            raise self.outcome
        assert self.outcome is not None, "the call has ended"
        return self.outcome


def tell(watchers: List[Callable[[], None]]) -> None:
    """Calls each of them; they may remove themselves."""
    if watchers:
        for watcher in tuple(watchers):
            watcher()
