"""What a process has inherited from the one that forked it, and must not use: two processes on one connection would take each other's
answers."""

from __future__ import annotations

import os
import weakref
from typing import Protocol


class Inherited(Protocol):
    """Something with a socket of its own."""

    def forked(self) -> None:
        """This is the child. No other thread runs, and a lock may be held for ever."""


_known: "weakref.WeakSet[Inherited]" = weakref.WeakSet()


def watch(one: Inherited) -> None:
    """Tells it when it is in the child of a fork."""
    _known.add(one)


def _forked() -> None:
    for one in list(_known):
        one.forked()


os.register_at_fork(after_in_child=_forked)
