"""The same as `ipcd`, for asyncio: a client and services whose waits are awaited.

    async with ipcd.aio.Client() as client:
        print(await client.call("calc.add", {"a": 1, "b": 2}))
"""

from .call import Call
from .client import Client
from .datagram import Datagram
from .lock import Lock
from .service import Service
from .stream import Stream
from .subscription import Subscription

__all__ = ["Call", "Client", "Datagram", "Lock", "Service", "Stream", "Subscription"]
