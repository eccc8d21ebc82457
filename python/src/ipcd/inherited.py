"""A connection that the process was started with, as a descriptor."""

from __future__ import annotations

import os
import socket
import threading
from typing import Set

from .error import UsageError

#: Inodes of the sockets that are in use here: a connection has one hello, so it can't be shared.
_in_use: Set[int] = set()
_guard = threading.Lock()


class Inherited(socket.socket):
    """A copy of a descriptor, which stays its owner's should it be something else than a connection."""

    #: Of the socket, once it is known to be a connection, and of the process that uses it.
    _inode: int = 0
    _process: int = 0

    @classmethod
    def of(cls, number: int) -> Inherited:
        """Raises `UsageError` for what is no connection, or is in use here."""
        if number <= 2:
            raise UsageError(f"fd:{number} is a standard stream, no connection to a broker")
        try:
            copy = os.dup(number)
        except (OSError, OverflowError):
            raise UsageError(f"descriptor {number} isn't open: was it passed to this process?") from None
        try:
            sock = cls(fileno=copy)
        except OSError:
            os.close(copy)
            raise UsageError(f"descriptor {number} isn't an AF_UNIX socket") from None
        try:
            sock._check(number)
            os.set_inheritable(number, False)
        except BaseException:
            sock.close()
            raise
        return sock

    def close(self) -> None:
        """Ends the connection, although the original stays open; in the child of a fork, only the copy."""
        if self._inode:
            if os.getpid() == self._process:
                try:
                    self.shutdown(socket.SHUT_RDWR)
                except OSError:
                    pass  # it had ended
            _in_use.discard(self._inode)
            self._inode = 0
        super().close()

    def _check(self, number: int) -> None:
        if self.family != socket.AF_UNIX:
            raise UsageError(f"descriptor {number} isn't an AF_UNIX socket")
        if self.type != socket.SOCK_STREAM or self.getsockopt(socket.SOL_SOCKET, socket.SO_ACCEPTCONN):
            raise UsageError(f"descriptor {number} isn't a connected stream socket")
        inode = os.fstat(self.fileno()).st_ino
        with _guard:
            if inode in _in_use:
                raise UsageError(f"fd:{number} is in use by another connection of this process")
            _in_use.add(inode)
        self._inode, self._process = inode, os.getpid()
