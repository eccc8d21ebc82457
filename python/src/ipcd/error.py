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

    def __init_subclass__(
        cls, *, code: int = 0, name: str = "", has_not_run: bool = False, sentence: str = ""
    ) -> None:
        """A row of the table, documented by its sentence unless another one is given; or, without a number, a program's own kind of the
        error above it."""
        super().__init_subclass__()
        if not code:
            return
        cls.code, cls.name, cls.has_not_run = code, name, has_not_run
        said = (cls.__doc__ or name).rstrip(".")  # without docstrings (-OO) the name has to do
        cls.sentence = sentence or said[:1].lower() + said[1:]

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


class AppError(
    Error, code=1, name="app_error", sentence="the service ran the call and returned an error of its own"
):
    """The service ran the call and returned an error of its own. A method raises it to do so."""

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


class UsageError(Error, code=2, name="usage", has_not_run=True, sentence="the command or the request is malformed"):
    """The request is malformed: nothing was sent."""


class Invalid(Error, code=3, name="invalid", has_not_run=True):
    """A name or the payload is not valid."""


class UnsupportedEncoding(Error, code=4, name="unsupported_encoding", has_not_run=True):
    """The service does not take this encoding."""


class TooLarge(Error, code=5, name="too_large", has_not_run=True):
    """The body is over the limit."""


class NoInput(Error, code=6, name="no_input", has_not_run=True):
    """A file named on the command line cannot be read."""


class NoMethod(Error, code=7, name="no_method", has_not_run=True):
    """The service has no such method."""


class NoService(Error, code=8, name="no_service", has_not_run=True):
    """No process offers this name."""


class Unavailable(Error, code=9, name="unavailable", has_not_run=True):
    """No broker answers at the address."""


class Internal(Error, code=10, name="internal", sentence="the service's handler panicked or was killed"):
    """The service's method failed, or its process was killed by its own side."""


class ActivationFailed(Error, code=11, name="activation_failed", has_not_run=True):
    """The service could not be started."""


class ServiceGone(Error, code=12, name="service_gone"):
    """The service died before it answered."""


class BrokerLost(Error, code=13, name="broker_lost"):
    """The broker went away before the answer came."""


class Busy(Error, code=14, name="busy", has_not_run=True):
    """A queue or quota is full."""


class ProtocolError(Error, code=15, name="protocol", has_not_run=True):
    """One side broke the protocol."""


class Denied(Error, code=16, name="denied", has_not_run=True):
    """The caller may not do this."""


class ConfigError(Error, code=17, name="config", has_not_run=True):
    """The configuration is wrong."""


class DeadlineExceeded(Error, code=18, name="deadline"):
    """The deadline passed before the answer came."""


class Cancelled(Error, code=19, name="cancelled"):
    """The caller cancelled the call."""


class NameTaken(Error, code=20, name="name_taken", has_not_run=True):
    """Another process holds the name."""


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
