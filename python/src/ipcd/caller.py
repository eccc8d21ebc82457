"""Who calls, or publishes: stamped by the broker from what the kernel says. Nothing in it comes from the caller."""

from __future__ import annotations

import struct
from typing import NamedTuple, Optional, Tuple

_STAMP = struct.Struct("<IIIIQQ")


class Caller(NamedTuple):
    """A process at the other end of the broker, as it was when it connected."""

    #: Effective user and group.
    uid: int
    gid: int
    #: `None` where the broker can't see it. For display only: pids are reused.
    pid: Optional[int]
    #: Inode of the process's pidfd, unique until reboot, if the kernel tells.
    process: Optional[int]
    #: Its number: `@N` calls it back. `None` for the sender of a datagram.
    peer: Optional[int]
    #: Supplementary groups.
    groups: Tuple[int, ...]
    #: Whether all of the groups are there.
    groups_complete: bool

    @classmethod
    def of(cls, stamp: bytes) -> Caller:
        """Reads a stamp, whose length is right."""
        uid, gid, pid, flags, process, peer = _STAMP.unpack_from(stamp)
        groups = struct.unpack_from(f"<{len(stamp) // 4 - 8}I", stamp, _STAMP.size)
        return cls(uid, gid, pid or None, process or None, peer or None, groups, not flags & 1)
