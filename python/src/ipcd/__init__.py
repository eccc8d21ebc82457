"""Calls, services, events, streams and locks between local processes, through the ipcd broker.

A client in five lines:

    import ipcd

    with ipcd.Client() as client:
        print(client.call("calc.add", {"a": 1, "b": 2}))

`ipcd.aio` has the same for asyncio. docs/protocol.md of the project is what this package speaks.
"""

from .address import Address
from .body import BINCODE, BYTES, JSON, Body
from .call import Call
from .caller import Caller
from .client import Client, Ticket
from .datagram import Datagram
from .error import (
    ActivationFailed,
    AppError,
    BrokerLost,
    Busy,
    Cancelled,
    ConfigError,
    DeadlineExceeded,
    Denied,
    Error,
    Internal,
    Invalid,
    NameTaken,
    NoInput,
    NoMethod,
    NoService,
    ProtocolError,
    ServiceGone,
    TooLarge,
    Unavailable,
    UnknownError,
    UnsupportedEncoding,
    UsageError,
)
from .event import Event, Gap, Notice, Resumed
from .lock import Lock
from .request import NOTHING
from .service import Running, Service
from .stream import Stream
from .subscription import Subscription

__version__ = "0.1.0"

__all__ = [
    "ActivationFailed",
    "Address",
    "AppError",
    "BINCODE",
    "BYTES",
    "Body",
    "BrokerLost",
    "Busy",
    "Call",
    "Caller",
    "Cancelled",
    "Client",
    "ConfigError",
    "Datagram",
    "DeadlineExceeded",
    "Denied",
    "Error",
    "Event",
    "Gap",
    "Internal",
    "Invalid",
    "JSON",
    "Lock",
    "NOTHING",
    "NameTaken",
    "NoInput",
    "NoMethod",
    "NoService",
    "Notice",
    "ProtocolError",
    "Resumed",
    "Running",
    "Service",
    "ServiceGone",
    "Stream",
    "Subscription",
    "Ticket",
    "TooLarge",
    "Unavailable",
    "UnknownError",
    "UnsupportedEncoding",
    "UsageError",
]
