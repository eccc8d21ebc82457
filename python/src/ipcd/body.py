"""Bodies: bytes with their encoding, and the values that they stand for."""

from __future__ import annotations

import json
from typing import Any, NoReturn, Union

BYTES = 0
BINCODE = 1
JSON = 2


class Unreadable(ValueError):
    """A body that isn't what its encoding says, or a value that has no form in JSON."""


class Body:
    """A body as it is on the wire."""

    __slots__ = ("data", "encoding")

    def __init__(self, data: bytes = b"", encoding: int = BYTES) -> None:
        self.data = data
        self.encoding = encoding

    @classmethod
    def of(cls, value: Any) -> Body:
        """`bytes` as they are, a `Body` itself, any other value in JSON.

        Raises `Unreadable` for a value that has no form in JSON.
        """
        if isinstance(value, Body):
            return value
        if isinstance(value, (bytes, bytearray, memoryview)):
            return cls(bytes(value), BYTES)
        return cls(dump(value), JSON)

    def value(self) -> Any:
        """The value of JSON, the bytes of bytes, and the body itself in any other encoding.

        Raises `Unreadable` for JSON that isn't.
        """
        if self.encoding == JSON:
            return load(self.data)
        if self.encoding == BYTES:
            return self.data
        return self

    def json(self) -> Any:
        """The value of JSON, or of bytes that are read as JSON; `None` for an empty body.

        Raises `Unreadable` for any other body.
        """
        if self.encoding not in (BYTES, JSON):
            raise Unreadable(f"encoding {self.encoding} isn't JSON")
        return load(self.data) if self.data else None

    def __eq__(self, other: object) -> bool:
        return (
            isinstance(other, Body)
            and self.data == other.data
            and self.encoding == other.encoding
        )

    def __hash__(self) -> int:
        return hash((self.data, self.encoding))

    def __repr__(self) -> str:
        return f"Body({self.data!r}, encoding={self.encoding})"


def dump(value: Any) -> bytes:
    """A value in JSON, as short as it gets."""
    try:
        return _ENCODER.encode(value).encode()
    except (TypeError, ValueError, RecursionError) as error:
        raise Unreadable(f"the value has no form in JSON: {error}") from None


def load(data: Union[bytes, memoryview]) -> Any:
    """The value of a document in JSON."""
    try:
        return _DECODER.decode(str(data, "utf-8"))
    except (ValueError, RecursionError) as error:
        raise Unreadable(f"the body isn't JSON: {error}") from None


def _no_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} isn't a value of JSON")


_ENCODER = json.JSONEncoder(ensure_ascii=False, allow_nan=False, separators=(",", ":"))
_DECODER = json.JSONDecoder(parse_constant=_no_constant)
