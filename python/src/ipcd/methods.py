"""The methods of a service, and how the body of a request becomes the arguments of a function."""

from __future__ import annotations

import inspect
import logging
import time
import types
import typing
from typing import Any, Callable, Dict, List, Optional, Tuple, TypeVar, Union, overload

from . import description
from . import name as names
from .body import BINCODE, BYTES, JSON, Body, Unreadable, dump
from .error import Cancelled, DeadlineExceeded, Error, Internal, Invalid, NoMethod, UnsupportedEncoding, UsageError
from .frame import DEFAULT_TIMEOUT_MS
from .inbound import Inbound

#: The longest time of a call, in seconds.
LONGEST = 3600.0
#: A wait of more seconds has no end: the system can't count as far.
_ENDLESS = 1e6
#: Bytes that a registration has for the names of methods, counting one more for each.
_MOST_NAMES = 4096

F = TypeVar("F", bound=Callable[..., Any])
log = logging.getLogger("ipcd")


class Method:
    """A function that answers calls."""

    def __init__(self, name: str, function: Callable[..., Any], is_raw: bool, is_streamed: bool) -> None:
        self.name = name
        self.function = function
        self.is_raw = is_raw
        self.is_streamed = is_streamed
        self._signature = inspect.signature(function)
        self.hints = hints = _hints(function)
        #: The parameter that takes the call itself.
        self._call = next((one for one in self._signature.parameters if _is_call(hints.get(one))), None)
        self._plain = {one: hint for one, hint in hints.items() if hint in _PLAIN and one != "return"}
        self._takes_body = any(hint is Body for one, hint in hints.items() if one != "return")

    @property
    def parameters(self) -> List[inspect.Parameter]:
        """What a caller gives it."""
        return [one for name, one in self._signature.parameters.items() if name != self._call]

    @property
    def takes_call(self) -> bool:
        return self._call is not None

    def arguments(self, body: Body, call: object) -> Tuple[Tuple[Any, ...], Dict[str, Any]]:
        """The arguments of a call: the members of an object by name, those of an array by place, any other value as the only one.

        Raises `Invalid` with the argument that is wrong, or `UnsupportedEncoding`.
        """
        given: Dict[str, Any] = {} if self._call is None else {self._call: call}
        if self.is_raw:
            return (body if self._takes_body else body.data,), given
        if body.encoding not in (BYTES, JSON):
            raise UnsupportedEncoding(f"{self.name or 'the method'} takes json (2), and bytes (0) that are JSON")
        try:
            value = body.json()
        except Unreadable as error:
            raise Invalid(str(error)) from None
        placed: Tuple[Any, ...] = ()
        if isinstance(value, dict):
            if self._call in value:
                raise Invalid(f"got an unexpected keyword argument '{self._call}'")
            given.update(value)
        elif isinstance(value, list):
            placed = tuple(value)
        elif value is not None:
            placed = (value,)
        return self._fit(placed, given)

    def _fit(self, placed: Tuple[Any, ...], given: Dict[str, Any]) -> Tuple[Tuple[Any, ...], Dict[str, Any]]:
        try:
            bound = self._signature.bind(*placed, **given)
        except TypeError as error:
            raise Invalid(str(error)) from None
        for one, wanted in self._plain.items():
            if one in bound.arguments and not _fits(bound.arguments[one], wanted):
                found = type(bound.arguments[one]).__name__
                raise Invalid(f"argument '{one}' is of type {found}, not {wanted.__name__}")
        return bound.args, bound.kwargs


class Methods:
    """What a service offers."""

    def __init__(self, name: Optional[str], about: str = "") -> None:
        #: What the service is for.
        self.about = about
        #: The name that is registered; `None` for a service that is called by its number alone.
        self.name = None if name is None else names.service(name)
        self._methods: Dict[str, Method] = {}
        self._any: Optional[Method] = None

    @overload
    def method(self, function: F) -> F: ...

    @overload
    def method(self, function: Optional[str] = None, *, default: bool = False) -> Callable[[F], F]: ...

    def method(self, function: Union[F, str, None] = None, *, default: bool = False) -> Any:
        """A function answers the method of its name (`@service.method`), of another one
        (`@service.method("other-name")`), or calls that name none (`@service.method(default=True)`).

        It takes the members of a JSON object by name, those of an array by place, and any other value as its only argument; what it
        returns is the reply: `bytes` as they are, anything else in JSON. A parameter that is annotated with `Call` gets the call.
        """
        return self._decorator(function, default, is_raw=False, is_streamed=False)

    @overload
    def raw(self, function: F) -> F: ...

    @overload
    def raw(self, function: Optional[str] = None, *, default: bool = False) -> Callable[[F], F]: ...

    def raw(self, function: Union[F, str, None] = None, *, default: bool = False) -> Any:
        """As `method`, for a function that takes the body as it came: `bytes`, or a `Body` if the parameter is annotated so. Bytes that
        it returns are answered in the encoding of the request."""
        return self._decorator(function, default, is_raw=True, is_streamed=False)

    @overload
    def stream(self, function: F) -> F: ...

    @overload
    def stream(self, function: Optional[str] = None, *, default: bool = False) -> Callable[[F], F]: ...

    def stream(self, function: Union[F, str, None] = None, *, default: bool = False) -> Any:
        """As `method`, for calls with streams. What a generator yields are items of the reply, and what it returns is the reply. The
        call itself is an iterator of the caller's items, and sends items with `send`."""
        return self._decorator(function, default, is_raw=False, is_streamed=True)

    def any(self, function: F) -> F:
        """The function answers, as with `raw`, whatever method no other function does."""
        self._check(function)
        self._any = Method("", function, True, False)
        return function

    def find(self, inbound: Inbound) -> Method:
        """The method that a call names.

        Raises `NoMethod`, or `Invalid` if it has streams and should have none, or the other way round.
        """
        if inbound.method == description.METHOD and self._methods:
            return Method(description.METHOD, self._describe, True, False)
        method = self._methods.get(inbound.method, self._any)
        if method is None and not inbound.method:
            raise NoMethod(f"'{inbound.service}' has no default method (it has {', '.join(sorted(self._methods)) or 'none'})")
        if method is None:
            raise NoMethod(f"'{inbound.service}' has no method '{inbound.method}'")
        if method.is_streamed != (inbound.flow is not None):
            raise Invalid(f"{inbound.target} takes {'calls with streams only' if method.is_streamed else 'no streams'}")
        return method

    def registration(self, window: int, shared: bool) -> bytes:
        """The request that offers the name."""
        members: Dict[str, Any] = {"window": window, "shared": shared}
        if self.name is not None:
            members["name"] = self.name
        members["streams"] = any(method.is_streamed for method in self._methods.values())
        # Without names a service may answer any, which holds for one with too many of them; a part would deny the others.
        if sum(len(name) + 1 for name in self._methods) <= _MOST_NAMES:
            members["methods"] = sorted(self._methods)
        if self._methods:
            members["description"] = description.fingerprint(self._describe(b"").data)
        return dump(members)

    def unregistration(self) -> bytes:
        return dump({} if self.name is None else {"name": self.name})

    def _check(self, function: Callable[..., Any]) -> None:
        """Raises `UsageError` for a function that this kind of service can't run."""

    def _describe(self, _: bytes) -> Body:
        return Body(dump(description.of(self.about, self._methods)), JSON)

    def _decorator(self, function: Union[F, str, None], default: bool, is_raw: bool, is_streamed: bool) -> Any:
        if callable(function):
            return self._add(function, _name_of(function), is_raw, is_streamed)
        chosen = function

        def decorate(function: F) -> F:
            name = "" if default else _name_of(function) if chosen is None else chosen
            return self._add(function, name, is_raw, is_streamed)

        return decorate

    def _add(self, function: F, name: str, is_raw: bool, is_streamed: bool) -> F:
        names.method(name)
        self._check(function)
        if name in self._methods:
            raise UsageError(f"there are two methods '{name}'")
        self._methods[name] = Method(name, function, is_raw, is_streamed)
        return function


def answer_of(inbound: Inbound, method: Method, value: Any) -> Body:
    """The body that answers a call with what its method returned.

    Raises `Internal` for a value that has no form in JSON: the method has run.
    """
    if isinstance(value, Body):
        return value
    if isinstance(value, (bytes, bytearray, memoryview)):
        encoding = inbound.body.encoding if method.is_raw and inbound.body.encoding != BINCODE else BYTES
        return Body(bytes(value), encoding)
    try:
        return Body(dump(value), JSON)
    except Unreadable as error:
        raise Internal(f"the reply cannot be sent: {error}") from None


def failure_of(inbound: Inbound, error: BaseException) -> Error:
    """The error that answers a call with what its method raised. What a nested call ended with is passed on as `deadline`,
    `cancelled` or `internal`: the method may have acted before, so that a retry isn't safe."""
    if isinstance(error, Error):
        if not error.is_received or error is inbound.cancelled:
            return error
        if isinstance(error, (DeadlineExceeded, Cancelled)):
            return type(error)(error.text)
        return Internal(f"a nested call ended with {error}")
    log.error("%s failed", inbound.target, exc_info=error)
    return Internal(f"{inbound.target} failed: {type(error).__name__}: {error}")


def taken(inbound: Inbound, items: Any) -> Any:
    """The items that a method yields, if its caller takes some.

    Raises `Invalid` if not: nothing of the method has run.
    """
    if inbound.flow is None or not inbound.flow.sends:
        raise Invalid(f"{inbound.target} sends items, and the call takes none")
    return items


def to_ms(timeout: Optional[float]) -> int:
    """Seconds in the form of the wire: 0 means the default, so the shortest time is 1 ms. The longest is an hour.

    Raises `UsageError` for what is no time.
    """
    if timeout is None:
        return 0
    return max(1, -int(-max(0.0, min(_seconds(timeout), LONGEST)) * 1000 // 1))


def end_of_wait(timeout: Optional[float]) -> Optional[float]:
    """When a wait of some seconds ends, on the clock of `time.monotonic`; `None` for one without an end.

    Raises `UsageError` for what is no time.
    """
    if timeout is None or _seconds(timeout) > _ENDLESS:
        return None
    return time.monotonic() + timeout


def _seconds(timeout: float) -> float:
    if not isinstance(timeout, (int, float)) or timeout != timeout:
        raise UsageError(f"the timeout is {timeout!r}: it must be a number of seconds")
    return timeout


def default_seconds(time_ms: int, default_ms: int = DEFAULT_TIMEOUT_MS) -> float:
    return (time_ms or default_ms) / 1000


def _name_of(function: Callable[..., Any]) -> str:
    """Raises `UsageError` for one that no method can have."""
    name = str(getattr(function, "__name__", ""))
    if name and name != name.lower():
        raise UsageError(f"{name!r} isn't a valid name of a method: they have small letters. Name it: @service.method('a-name')")
    return name


_PLAIN: List[Any] = [int, float, str, bool, list, dict]


def _fits(value: Any, wanted: type) -> bool:
    if wanted is float:
        return isinstance(value, (int, float)) and not isinstance(value, bool)
    return isinstance(value, wanted) and (wanted is bool or not isinstance(value, bool))


def _hints(function: Callable[..., Any]) -> Dict[str, Any]:
    try:
        return typing.get_type_hints(function)
    except (NameError, TypeError, AttributeError):  # an annotation that only a type checker can read
        target = function if isinstance(function, types.FunctionType) else getattr(function, "__func__", function)
        return dict(getattr(target, "__annotations__", {}))


def _is_call(hint: Any) -> bool:
    if isinstance(hint, str):
        return hint.split(".")[-1] == "Call"
    return bool(getattr(hint, "_is_call", False))
