"""Where the broker is."""

from __future__ import annotations

import os
import socket
import struct
from typing import Mapping, Optional

from .error import Denied, Unavailable, UsageError
from .inherited import Inherited

MAX_PATH = 101


class Address:
    """The address of a broker: a path, `@name` for an abstract name, or `fd:N` for an inherited connection."""

    def __init__(self, text: str, origin: str = "named") -> None:
        if not text.startswith("fd:") and not 0 < len(os.fsencode(text)) <= MAX_PATH:
            raise UsageError(f"the address {text!r} has no length from 1 to {MAX_PATH} bytes")
        if text.startswith("fd:") and not text[3:].isdecimal():
            raise UsageError(f"{text!r} names no descriptor")
        self.text = text
        self._origin = origin

    @classmethod
    def find(cls, environ: Optional[Mapping[str, str]] = None, uid: Optional[int] = None) -> Address:
        """The broker that the environment points to."""
        environ = os.environ if environ is None else environ
        uid = os.geteuid() if uid is None else uid
        chosen, runtime = environ.get("IPCD_SOCKET"), environ.get("XDG_RUNTIME_DIR")
        if chosen:
            return cls(chosen, "variable")
        if runtime and runtime.startswith("/"):
            return cls(os.path.join(runtime, "ipcd/ipcd.sock"), "searched")
        return cls("/run/ipcd/ipcd.sock" if uid == 0 else f"/tmp/ipcd-{uid}/ipcd.sock", "searched")

    @property
    def is_inherited(self) -> bool:
        """Whether it is one connection for good."""
        return self.text.startswith("fd:")

    def stream(self, patience: float) -> socket.socket:
        """A stream to the broker. Waits up to `patience` seconds for one that is too busy to accept.

        Raises `Unavailable`, `Denied`, or `UsageError` for a descriptor that is no connection.
        """
        sock: socket.socket
        if self.is_inherited:
            sock = Inherited.of(int(self.text[3:]))
        else:
            sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
            if patience <= 0:
                sock.setblocking(False)
            else:
                whole = int(patience)
                limit = struct.pack("ll", whole, max(int((patience - whole) * 1e6), 1))
                sock.setsockopt(socket.SOL_SOCKET, socket.SO_SNDTIMEO, limit)
            self._connect(sock, self._name(""))
        sock.setblocking(False)
        return sock

    def datagrams(self) -> socket.socket:
        """A socket for datagrams to the broker, with an address that it can answer to.

        Raises `Unavailable`, `Denied` or `UsageError`.
        """
        if self.is_inherited:
            raise UsageError("an inherited descriptor has no datagram socket beside it")
        sock = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        sock.bind("")  # the kernel chooses an abstract address
        self._connect(sock, self._name(".dgram"))
        sock.setblocking(False)
        return sock

    def _name(self, end: str) -> str:
        return "\0" + self.text[1:] + end if self.text.startswith("@") else self.text + end

    def _connect(self, sock: socket.socket, name: str) -> None:
        try:
            sock.connect(name)
            self._check_owner(sock)
        except PermissionError as error:
            sock.close()
            raise Denied(f"the socket {self.text} may not be opened by this user, or from this sandbox") from error
        except BlockingIOError as error:
            sock.close()
            raise Unavailable(f"the broker at {self.text} is too busy to accept a connection") from error
        except OSError as error:
            sock.close()
            raise Unavailable(f"no broker answers at {self.text}: {error.strerror} (is ipcd running?)") from error
        except Denied:
            sock.close()
            raise

    def _check_owner(self, sock: socket.socket) -> None:
        """Refuses a broker of a stranger, which would receive all calls: any user can make /tmp/ipcd-UID before its owner does, and
        a variable may be that of the user that root was before."""
        own = os.geteuid()
        if self._origin == "named" or (self._origin == "variable" and own != 0):
            return
        if sock.type == socket.SOCK_STREAM:
            credentials = sock.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, 12)
            owner: int = struct.unpack("iII", credentials)[1]
        elif self.text.startswith("@"):
            return
        else:
            owner = os.stat(self._name(".dgram")).st_uid
        if owner not in (0, own):
            raise Denied(
                f"the socket {self.text} belongs to uid {owner}, neither to root nor to this user (uid {own}): name it, if it is meant"
            )

    def __str__(self) -> str:
        return self.text
