"""What a call can end with instead of a reply: one class for each row of the error table, all below `Error`."""

from __future__ import annotations

from typing import Any, Dict, Optional, Type

from .body import Body

SAFE = "safe"
UNKNOWN = "unknown"


class Error(Exception):
    """Why a call ended without a reply, or why it could not be made."""

    #: Number of the error on the wire.
    code: int = 0
    #: Name of the error in the table of docs/protocol.md.
    name: str = "error"
    #: What is said where there is no other text.
    sentence: str = "the broker gives no reason"
    #: Whether the number alone says that the request has not run.
    has_not_run: bool = False

    def __init__(
        self, text: str = "", *, safe: Optional[bool] = None, delivered: Optional[int] = None
    ) -> None:
        super().__init__(text)
        #: What happened, to what, and what to do: a sentence.
        self.text = text or self.sentence
        #: How many of this side's items the broker had sent on when it ended a call with streams, if it said so.
        self.delivered = delivered
        #: Whether it is what a call ended with, not made by the program that sees it.
        self.is_received = False
        self._safe = self.has_not_run if safe is None else safe

    @property
    def retry(self) -> str:
        """`"safe"` if the same request may be sent again without running twice, else `"unknown"`."""
        return SAFE if self._safe else UNKNOWN

    @property
    def may_have_run(self) -> bool:
        """Whether the request may have run."""
        return not self._safe

    def __str__(self) -> str:
        ran = "" if self._safe or self.code == AppError.code else "; the call may have run"
        return f"{self.name}: {self.text}{ran}"


class AppError(Error):
    """The service ran the call and returned an error of its own. A method raises it to do so."""

    code, name = 1, "app_error"
    sentence = "the service ran the call and returned an error of its own"

    def __init__(
        self,
        text: str = "",
        *,
        app_code: int = 0,
        value: Any = None,
        body: Optional[Body] = None,
        safe: Optional[bool] = None,
        delivered: Optional[int] = None,
    ) -> None:
        super().__init__(text, safe=safe, delivered=delivered)
        #: The application's own code; 0 if it has none.
        self.app_code = app_code
        #: The application's own error value, as it is on the wire.
        self.body = Body.of(value) if body is None and value is not None else body or Body()

    @property
    def value(self) -> Any:
        """The application's own error value; `None` if it has none."""
        return self.body.value() if self.body.data else None


class UsageError(Error):
    """The request is malformed: nothing was sent."""

    code, name, has_not_run = 2, "usage", True
    sentence = "the command or the request is malformed"


class Invalid(Error):
    """A name or the payload is not valid."""

    code, name, has_not_run = 3, "invalid", True
    sentence = "a name or the payload is not valid"


class UnsupportedEncoding(Error):
    """The service does not take this encoding."""

    code, name, has_not_run = 4, "unsupported_encoding", True
    sentence = "the service does not take this encoding"


class TooLarge(Error):
    """The body is over the limit."""

    code, name, has_not_run = 5, "too_large", True
    sentence = "the body is over the limit"


class NoInput(Error):
    """A file named on the command line cannot be read."""

    code, name, has_not_run = 6, "no_input", True
    sentence = "a file named on the command line cannot be read"


class NoMethod(Error):
    """The service has no such method."""

    code, name, has_not_run = 7, "no_method", True
    sentence = "the service has no such method"


class NoService(Error):
    """No process offers this name."""

    code, name, has_not_run = 8, "no_service", True
    sentence = "no process offers this name"


class Unavailable(Error):
    """No broker answers at the address."""

    code, name, has_not_run = 9, "unavailable", True
    sentence = "no broker answers at the address"


class Internal(Error):
    """The service's method failed, or its process was killed by its own side."""

    code, name = 10, "internal"
    sentence = "the service's handler panicked or was killed"


class ActivationFailed(Error):
    """The service could not be started."""

    code, name, has_not_run = 11, "activation_failed", True
    sentence = "the service could not be started"


class ServiceGone(Error):
    """The service died before it answered."""

    code, name = 12, "service_gone"
    sentence = "the service died before it answered"


class BrokerLost(Error):
    """The broker went away before the answer came."""

    code, name = 13, "broker_lost"
    sentence = "the broker went away before the answer came"


class Busy(Error):
    """A queue or quota is full."""

    code, name, has_not_run = 14, "busy", True
    sentence = "a queue or quota is full"


class ProtocolError(Error):
    """One side broke the protocol."""

    code, name, has_not_run = 15, "protocol", True
    sentence = "one side broke the protocol"


class Denied(Error):
    """The caller may not do this."""

    code, name, has_not_run = 16, "denied", True
    sentence = "the caller may not do this"


class ConfigError(Error):
    """The configuration is wrong."""

    code, name, has_not_run = 17, "config", True
    sentence = "the configuration is wrong"


class DeadlineExceeded(Error):
    """The deadline passed before the answer came."""

    code, name = 18, "deadline"
    sentence = "the deadline passed before the answer came"


class Cancelled(Error):
    """The caller cancelled the call."""

    code, name = 19, "cancelled"
    sentence = "the caller cancelled the call"


class NameTaken(Error):
    """Another process holds the name."""

    code, name, has_not_run = 20, "name_taken", True
    sentence = "another process holds the name"


class UnknownError(Error):
    """An error with a number that this version doesn't know. The call may have run."""

    def __init__(self, code: int, text: str = "", *, safe: Optional[bool] = None) -> None:
        super().__init__(text, safe=safe)
        self.code = code
        self.name = f"error_{code}"


#: The classes by their numbers.
TABLE: Dict[int, Type[Error]] = {
    kind.code: kind for kind in Error.__subclasses__() if kind is not UnknownError
}


def received(
    code: int,
    text: str,
    *,
    safe: bool,
    app_code: int = 0,
    body: Optional[Body] = None,
    delivered: Optional[int] = None,
) -> Error:
    """The error of a frame, or of a connection that has ended."""
    kind = TABLE.get(code)
    error: Error
    if kind is None:
        error = UnknownError(code, text, safe=safe)
        error.delivered = delivered
    elif kind is AppError:
        error = AppError(text, app_code=app_code, body=body, safe=safe, delivered=delivered)
    else:
        error = kind(text, safe=safe, delivered=delivered)
    error.is_received = True
    return error
