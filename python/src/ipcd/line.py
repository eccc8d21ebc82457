"""The connection of a client, and another one when it is dead."""

from __future__ import annotations

import threading
from typing import Optional

from . import fork
from .address import Address
from .connection import Connection
from .error import BrokerLost, Unavailable


class Line:
    """Shared by a client and those that are bound to its calls. A dead connection is replaced by the next call."""

    def __init__(self, address: Address, agent: str, patience: float) -> None:
        self.address = address
        self.agent = agent
        self.patience = patience
        self.is_closed = False
        self.connection: Connection
        self._dialling = threading.Lock()
        fork.watch(self)

    def forked(self) -> None:
        """In the child: no thread of it connects."""
        self._dialling = threading.Lock()

    def connect(self) -> None:
        self.connection = Connection(self.address, self.agent, self.patience)

    @property
    def may_come_back(self) -> bool:
        """Whether a dead connection is followed by another one."""
        return not self.is_closed and not self.address.is_inherited

    def live(self) -> Connection:
        """A connection that has not ended. One thread connects, the others wait for it.

        Raises `Unavailable`, `Denied` or `BrokerLost`.
        """
        connection = self.connection
        if connection.session.ended is None:
            return connection
        with self._dialling:
            if self.connection.session.ended is not None:
                self._replace()
            return self.connection

    def close(self) -> None:
        self.is_closed = True
        self.connection.close()

    def _replace(self) -> None:
        if not self.may_come_back:
            ended = self.connection.session.ended
            raise BrokerLost(f"the connection had ended: {ended.text if ended else ''}", safe=True)
        self.connect()


class ServiceLine(Line):
    """The line of a service, which registers on each new connection before anything else uses it."""

    def adopt(self, connection: Optional[Connection]) -> None:
        if connection is not None:
            self.connection = connection

    def _replace(self) -> None:
        if not self.may_come_back:
            return super()._replace()
        raise Unavailable(f"the broker at {self.address} went away and the service is not registered again yet")
