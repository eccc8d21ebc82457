"""Frames: the header, the routing section and the body, as docs/protocol.md lays them out."""

from __future__ import annotations

import struct
from typing import Dict, List, Mapping, Optional

from .body import Body

MAGIC = 0xC1
VERSION = 1
HEADER = struct.Struct("<BBBBHBBQIHHII")
MAX_ROUTING = 4096
MAX_CALL_ROUTING = 3070
MAX_BODY = 1_048_576
MAX_NAME = 255
MAX_TEXT = 2048
MAX_GROUPS = 64
MAX_DATAGRAM = 65_536
DEFAULT_TIMEOUT_MS = 30_000
MAX_TIMEOUT_MS = 3_600_000

HELLO, WELCOME, CALL, REPLY, ERROR, ITEM, END = 1, 2, 3, 4, 5, 6, 7
CREDIT, CANCEL, EVENT, GAP, GOODBYE, PING, PONG = 8, 9, 10, 11, 12, 13, 14

RETRY_SAFE, RETAINED, DELIVERED = 0x0001, 0x0002, 0x0004
ONE_WAY, REQUEST_STREAM, REPLY_STREAM = 0x0100, 0x0200, 0x0400
#: The bits of the high byte that are in use. A frame with any other is a violation.
_UNDERSTOOD = ONE_WAY | REQUEST_STREAM | REPLY_STREAM

CALLER, SERVICE, METHOD, TRACE, TEXT, FEATURES, VERSIONS, AGENT = 1, 2, 3, 4, 5, 6, 7, 8
PEER, MAX_BODY_TAG, CALL_DEFAULT, CALL_MAX, TOPIC, SEQUENCE, COUNT = 9, 10, 11, 12, 13, 14, 15
#: From here up a field must be understood.
_MUST_UNDERSTAND = 128
_SIZES = {6: 8, 7: 2, 9: 8, 10: 4, 11: 4, 12: 4, 14: 8, 15: 8}
_TEXTS = {2: MAX_NAME, 3: MAX_NAME, 5: MAX_TEXT, 8: MAX_NAME, 13: MAX_NAME}


class Violation(Exception):
    """A frame that no correct peer sends: what follows it can't be trusted."""


class Frame:
    """One frame. Fields that a kind doesn't use are zero or empty."""

    __slots__ = ("kind", "id", "encoding", "flags", "code", "time_ms", "detail", "fields", "data")

    def __init__(
        self,
        kind: int,
        id: int = 0,
        *,
        flags: int = 0,
        code: int = 0,
        time_ms: int = 0,
        detail: int = 0,
        fields: Optional[Mapping[int, bytes]] = None,
        encoding: int = 0,
        data: bytes = b"",
    ) -> None:
        self.kind = kind
        self.id = id
        self.encoding = encoding
        self.flags = flags
        self.code = code
        self.time_ms = time_ms
        self.detail = detail
        self.fields: Mapping[int, bytes] = fields if fields is not None else {}
        self.data = data

    @property
    def body(self) -> Body:
        return Body(self.data, self.encoding)

    def text(self, tag: int) -> str:
        """A field that is a text; empty if it isn't there."""
        return self.fields.get(tag, b"").decode("utf-8", "replace")

    def number(self, tag: int) -> Optional[int]:
        """A field that is a number; `None` if it isn't there."""
        value = self.fields.get(tag)
        return None if value is None else int.from_bytes(value, "little")

    def encode(self) -> bytes:
        """The frame as it travels."""
        routing = encode_fields(self.fields) if self.fields else b""
        header = HEADER.pack(
            MAGIC,
            VERSION,
            self.kind,
            self.encoding,
            self.flags,
            0,
            0,
            self.id,
            len(self.data),
            len(routing),
            self.code,
            self.time_ms,
            self.detail,
        )
        return header + routing + self.data

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Frame) and self.encode() == other.encode()

    __hash__ = None  # type: ignore[assignment]

    def __repr__(self) -> str:
        return f"Frame(kind={self.kind}, id={self.id}, fields={dict(self.fields)}, data={self.data!r})"


def encode_fields(fields: Mapping[int, bytes]) -> bytes:
    """A routing section."""
    return b"".join(
        tag.to_bytes(1, "little") + len(fields[tag]).to_bytes(2, "little") + fields[tag]
        for tag in sorted(fields)
    )


def decode_fields(routing: bytes) -> Dict[int, bytes]:
    """The fields of a routing section.

    Raises `Violation` for one that isn't well formed.
    """
    fields: Dict[int, bytes] = {}
    at, last, end = 0, 0, len(routing)
    while at < end:
        if end - at < 3:
            raise Violation("a field reaches past the end of the routing section")
        tag, length = routing[at], routing[at + 1] | routing[at + 2] << 8
        if tag <= last:
            raise Violation(f"tag {tag} comes after {last}")
        value = routing[at + 3 : at + 3 + length]
        if len(value) != length:
            raise Violation(f"field {tag} reaches past the end of the routing section")
        _check_field(tag, value)
        fields[tag], last, at = value, tag, at + 3 + length
    return fields


def _check_field(tag: int, value: bytes) -> None:
    if tag >= _MUST_UNDERSTAND:
        raise Violation(f"field {tag} must be understood, and isn't known")
    if len(value) != _SIZES.get(tag, len(value)):
        raise Violation(f"field {tag} has {len(value)} bytes")
    most = _TEXTS.get(tag)
    if most is not None:
        if len(value) > most:
            raise Violation(f"field {tag} has {len(value)} bytes")
        try:
            value.decode()
        except UnicodeDecodeError:
            raise Violation(f"field {tag} isn't UTF-8") from None
    if tag == CALLER and not (32 <= len(value) <= 32 + 4 * MAX_GROUPS and len(value) % 4 == 0):
        raise Violation(f"the stamp has {len(value)} bytes")


class Decoder:
    """Cuts bytes into frames, however they come."""

    def __init__(self) -> None:
        self._rest = bytearray()
        #: Largest body that the other side may send.
        self.max_body = MAX_BODY
        #: What stands behind the frames that were complete, if no frame can follow.
        self.violation: Optional[Violation] = None

    def feed(self, data: bytes) -> List[Frame]:
        """The frames that are complete with these bytes. A header that breaks a rule is a violation before anything that it announces
        takes memory."""
        frames: List[Frame] = []
        try:
            if self.violation is None:
                self._feed(data, frames)
        except Violation as violation:
            self.violation = violation
            self._rest.clear()
        return frames

    def _feed(self, data: bytes, frames: List[Frame]) -> None:
        if self._rest:
            self._rest += data
            if len(self._rest) < HEADER.size or len(self._rest) < self._length_at(self._rest, 0):
                return
            data, self._rest = bytes(self._rest), bytearray()
        at, end = 0, len(data)
        while end - at >= HEADER.size:
            length = self._length_at(data, at)
            if end - at < length:
                break
            frames.append(_decode(data, at))
            at += length
        if at < end:
            self._rest += data[at:] if at else data

    def _length_at(self, data: "bytes | bytearray", at: int) -> int:
        """The length of the frame that starts here, whose header is complete."""
        (magic, version, kind, _, flags, fds, _, _, body, routing, _, _, _) = HEADER.unpack_from(data, at)
        if magic != MAGIC:
            raise Violation(f"a frame starts with {magic:#04x}")
        if version != VERSION:
            raise Violation(f"version {version} wasn't agreed on")
        if flags & 0xFF00 & ~_UNDERSTOOD:
            raise Violation(f"flags {flags:#06x} must be understood")
        if fds:
            raise Violation("descriptors weren't agreed on")
        if not HELLO <= kind <= PONG:
            raise Violation(f"kind {kind} isn't known")
        if routing > MAX_ROUTING:
            raise Violation(f"a routing section of {routing} bytes")
        if body > self.max_body:
            raise Violation(f"a body of {body} bytes")
        return HEADER.size + int(routing) + int(body)


def _decode(data: bytes, at: int) -> Frame:
    (_, _, kind, encoding, flags, _, _, id, body, routing, code, time_ms, detail) = HEADER.unpack_from(data, at)
    at += HEADER.size
    fields = decode_fields(data[at : at + routing]) if routing else {}
    at += routing
    return Frame(
        kind,
        id,
        flags=flags,
        code=code,
        time_ms=time_ms,
        detail=detail,
        fields=fields,
        encoding=encoding,
        data=data[at : at + body],
    )


def decode(data: bytes) -> Frame:
    """The one frame that these bytes are, as a datagram brings it.

    Raises `Violation` for anything else.
    """
    decoder = Decoder()
    frames = decoder.feed(data)
    if decoder.violation is not None:
        raise decoder.violation
    if len(frames) != 1 or len(frames[0].encode()) != len(data):
        raise Violation("the datagram isn't one frame")
    return frames[0]


def u8s(*numbers: int) -> bytes:
    return bytes(numbers)


def u64(number: int) -> bytes:
    return number.to_bytes(8, "little")


def cut_text(text: str) -> bytes:
    """A sentence as it travels: one that is too long is cut at a character."""
    data = text.encode("utf-8", "replace")
    return data if len(data) <= MAX_TEXT else data[:MAX_TEXT].decode("utf-8", "ignore").encode()
