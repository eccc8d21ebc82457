"""Holds the package to docs/protocol.md: each hexdump byte for byte, each table row for row."""

from __future__ import annotations

import struct
import unittest

import page
from ipcd import error, flow
from ipcd import frame as wire
from ipcd.body import BINCODE, BYTES, JSON
from ipcd.caller import Caller
from ipcd.frame import Frame

U32 = struct.Struct("<I").pack
STAMP = struct.pack("<IIIIQQIII", 1000, 1000, 4242, 0, 0x1122334455, 7, 4, 24, 1000)
TRACE = b"00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"


def session() -> "dict[str, Frame]":
    """The frames of the page, as they are said here."""
    none, both = wire.u64(0), b"\1\1"
    return {
        "hello": Frame(wire.HELLO, fields={wire.FEATURES: none, wire.VERSIONS: both, wire.AGENT: b"calc-client 1.0"}),
        "welcome": Frame(
            wire.WELCOME,
            fields={
                wire.FEATURES: none,
                wire.VERSIONS: both,
                wire.AGENT: b"ipcd 0.1.0",
                wire.PEER: wire.u64(7),
                wire.MAX_BODY_TAG: U32(wire.MAX_BODY),
                wire.CALL_DEFAULT: U32(wire.DEFAULT_TIMEOUT_MS),
                wire.CALL_MAX: U32(wire.MAX_TIMEOUT_MS),
            },
        ),
        "register": Frame(
            wire.CALL,
            1,
            encoding=JSON,
            fields={wire.SERVICE: b"ipc", wire.METHOD: b"register"},
            data=b'{"name":"calc","window":4}',
        ),
        "registered": Frame(wire.REPLY, 1, encoding=JSON, data=b'{"peer":8}'),
        "call": Frame(
            wire.CALL, 1, encoding=JSON, time_ms=5000, fields={wire.SERVICE: b"calc.add"}, data=b'{"a":1,"b":2}'
        ),
        "delivered": Frame(
            wire.CALL,
            258,
            encoding=JSON,
            time_ms=4999,
            fields={wire.CALLER: STAMP, wire.SERVICE: b"calc", wire.METHOD: b"add"},
            data=b'{"a":1,"b":2}',
        ),
        "reply": Frame(wire.REPLY, 258, encoding=JSON, data=b"3"),
        "forwarded": Frame(wire.REPLY, 1, encoding=JSON, data=b"3"),
        "error": Frame(
            wire.ERROR, 2, flags=wire.RETRY_SAFE, code=8, fields={wire.TEXT: b"no process offers 'clock'"}
        ),
        "app_error": Frame(
            wire.ERROR, 3, encoding=JSON, code=1, detail=17, fields={wire.TEXT: b"division by zero"}, data=b'{"a":1}'
        ),
        "one_way": Frame(
            wire.CALL,
            4,
            encoding=BINCODE,
            flags=wire.ONE_WAY,
            fields={wire.SERVICE: b"calc", wire.METHOD: b"note", wire.TRACE: TRACE},
            data=b"\2\3",
        ),
        "cancel": Frame(wire.CANCEL, 5, code=19),
        "cancel_deadline": Frame(wire.CANCEL, 259, code=18),
        "ping": Frame(wire.PING, 6),
        "pong": Frame(wire.PONG, 6),
        "goodbye": Frame(wire.GOODBYE, code=15, fields={wire.TEXT: b"call ids must grow: 4 came after 5"}),
        "call_stream": Frame(wire.CALL, 6, flags=wire.REQUEST_STREAM, fields={wire.SERVICE: b"store.put"}),
        "credit": Frame(wire.CREDIT, 6, detail=2, fields={wire.COUNT: wire.u64(65536)}),
        "credit_delivered": Frame(
            wire.CREDIT, 260, flags=wire.DELIVERED, detail=2, fields={wire.COUNT: wire.u64(65536)}
        ),
        "item": Frame(wire.ITEM, 6, encoding=BYTES, data=b"first"),
        "end": Frame(wire.END, 6),
        "error_stream": Frame(
            wire.ERROR, 6, code=12, fields={wire.TEXT: b"the service has ended", wire.COUNT: wire.u64(2)}
        ),
        "event": Frame(
            wire.EVENT,
            7,
            encoding=JSON,
            flags=wire.ONE_WAY | wire.RETAINED,
            fields={wire.TOPIC: b"home.temp"},
            data=b"21.5",
        ),
        "event_delivered": Frame(
            wire.EVENT,
            (1 << 32) + 3,
            encoding=JSON,
            flags=wire.RETAINED,
            fields={wire.CALLER: STAMP, wire.TOPIC: b"home.temp", wire.SEQUENCE: wire.u64(1)},
            data=b"21.5",
        ),
        "gap": Frame(wire.GAP, (1 << 32) + 3, fields={wire.COUNT: wire.u64(3)}),
        "datagram": Frame(wire.CALL, 1, fields={wire.SERVICE: b"upper"}, data=b"hi"),
        "datagram_reply": Frame(wire.REPLY, 1, data=b"HI"),
    }


class Hexdumps(unittest.TestCase):
    def test_each_frame_is_encoded_as_the_page_shows(self) -> None:
        encoded = {name: frame.encode().hex(" ") for name, frame in session().items()}
        self.assertEqual(encoded, {name: data.hex(" ") for name, data in page.frames().items()})

    def test_each_hexdump_is_decoded_to_its_frame(self) -> None:
        decoded = {name: wire.decode(data) for name, data in page.frames().items()}
        self.assertEqual(decoded, session())

    def test_frames_are_the_same_byte_by_byte(self) -> None:
        decoder, frames = wire.Decoder(), []
        for byte in b"".join(page.frames().values()):
            frames += decoder.feed(bytes([byte]))
        self.assertEqual(frames, list(session().values()))

    def test_the_stamp_is_read_back(self) -> None:
        stamp = wire.decode(page.frames()["delivered"]).fields[wire.CALLER]
        caller = Caller(1000, 1000, 4242, 0x1122334455, 7, (4, 24, 1000), groups_complete=True)
        self.assertEqual(Caller.of(stamp), caller)


class Tables(unittest.TestCase):
    def test_kinds(self) -> None:
        documented = {name.upper(): int(number) for name, number, *_ in page.table("Kinds", "kind")}
        self.assertEqual(documented, {name: getattr(wire, name) for name in documented})

    def test_tags(self) -> None:
        documented = {name: int(tag) for tag, name, _ in page.table("Routing section", "tag")}
        named = {"MAX_BODY": "MAX_BODY_TAG"}
        self.assertEqual(documented, {name: getattr(wire, named.get(name, name)) for name in documented})

    def test_flags_in_use(self) -> None:
        rows = page.table("Header", "bit")
        documented = {name.upper(): int(value, 16) for _, value, name, _, state in rows if state.startswith("in use")}
        self.assertEqual(documented, {name: getattr(wire, name) for name in documented})

    def test_encodings(self) -> None:
        documented = {name: int(number) for name, number, _ in page.table("Bodies", "encoding")}
        self.assertEqual(documented, {"bytes": BYTES, "bincode": BINCODE, "json": JSON})

    def test_errors(self) -> None:
        rows = page.table("Errors", "number")
        documented = {int(row[0]): (row[1], row[4] == "no", row[5]) for row in rows}
        known = {code: (kind.name, kind.has_not_run, kind.sentence) for code, kind in error.TABLE.items()}
        self.assertEqual(known, documented)

    def test_limits(self) -> None:
        documented = {row[0]: int(row[1].replace(",", "")) for row in page.table("Limits", "limit")}
        here = {name: getattr(wire, name) for name in documented if hasattr(wire, name)}
        self.assertEqual(here, {name: documented[name] for name in here})
        self.assertGreaterEqual(len(here), 9)
        self.assertEqual(documented["HEADER_LEN"], wire.HEADER.size)
        self.assertLess(flow.WINDOW_BYTES, documented["MAX_BODY"])


if __name__ == "__main__":
    unittest.main()
