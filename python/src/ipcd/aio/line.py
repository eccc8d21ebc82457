"""The connection of a client with asyncio, and another one when it is dead."""

from __future__ import annotations

import asyncio

from ..address import Address
from ..error import BrokerLost, Unavailable
from .connection import Connection


class Line:
    """Shared by a client and those that are bound to its calls. A dead connection is replaced by the next call."""

    def __init__(self, address: Address, agent: str, patience: float) -> None:
        self.address = address
        self.agent = agent
        self.patience = patience
        self.is_closed = False
        self.connection: Connection
        self._dialling = asyncio.Lock()

    async def connect(self) -> None:
        self.connection = await Connection.connect(self.address, self.agent, self.patience)

    @property
    def may_come_back(self) -> bool:
        """Whether a dead connection is followed by another one."""
        return not self.is_closed and not self.address.is_inherited

    async def live(self) -> Connection:
        """A connection that has not ended. One task connects, the others wait for it.

        Raises `Unavailable`, `Denied` or `BrokerLost`.
        """
        connection = self.connection
        if connection.session.ended is None:
            return connection
        async with self._dialling:
            if self.connection.session.ended is not None:
                await self._replace()
            return self.connection

    def close(self) -> None:
        self.is_closed = True
        self.connection.close()

    async def _replace(self) -> None:
        if not self.may_come_back:
            ended = self.connection.session.ended
            raise BrokerLost(f"the connection had ended: {ended.text if ended else ''}", safe=True)
        await self.connect()


class ServiceLine(Line):
    """The line of a service, which registers on each new connection before anything else uses it."""

    async def _replace(self) -> None:
        if not self.may_come_back:
            return await super()._replace()
        raise Unavailable(f"the broker at {self.address} went away and the service is not registered again yet")
