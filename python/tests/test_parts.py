"""The parts that know no socket."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
import unittest

import ipcd
from ipcd import frame as wire
from ipcd import name, request
from ipcd.backoff import Backoff
from ipcd.body import JSON, Body, Unreadable, dump, load
from ipcd.event import Event, Gap
from ipcd.feed import Feed
from ipcd.flow import WINDOW_ITEMS, Flow
from ipcd.frame import Decoder, Frame
from ipcd.methods import Methods, to_ms


def header(**changes: int) -> bytes:
    fields = {
        "magic": 0xC1, "version": 1, "kind": wire.REPLY, "encoding": 0, "flags": 0, "fds": 0, "reserved": 0,
        "id": 1, "body": 0, "routing": 0, "code": 0, "time_ms": 0, "detail": 0,
    }  # fmt: skip
    return wire.HEADER.pack(*{**fields, **changes}.values())


def event(topic: str, value: int) -> Event:
    return Event(topic, Body.of(value), None, None, False, None)


class Frames(unittest.TestCase):
    def test_a_hostile_header_is_a_violation_before_its_body_comes(self) -> None:
        hostile = (
            {"magic": 0xC2}, {"version": 2}, {"kind": 0}, {"kind": 15}, {"fds": 1}, {"flags": 0x0800}, {"flags": 0x8000},
            {"routing": wire.MAX_ROUTING + 1}, {"body": wire.MAX_BODY + 1}, {"body": 2**32 - 1},
        )  # fmt: skip
        for changes in hostile:
            with self.subTest(**changes):
                decoder = Decoder()
                self.assertEqual(decoder.feed(header(**changes)), [])
                self.assertIsNotNone(decoder.violation)

    def test_low_flags_and_reserved_bytes_are_ignored(self) -> None:
        decoder = Decoder()
        self.assertEqual(len(decoder.feed(header(flags=0x00F0, reserved=9, encoding=77))), 1)

    def test_a_hostile_routing_section_is_a_violation(self) -> None:
        sections = (
            b"\x05", b"\x05\x02\x00a", b"\x00\x00\x00", b"\x05\x00\x00\x05\x00\x00", b"\x05\x00\x00\x04\x00\x00",
            b"\x80\x00\x00", b"\x09\x01\x00a", b"\x05\x01\x00\xff", b"\x05\x01\x08" + b"a" * 2049, b"\x01\x04\x00abcd",
        )  # fmt: skip
        for section in sections:
            with self.subTest(section=section[:8]), self.assertRaises(wire.Violation):
                wire.decode_fields(section)

    def test_unknown_fields_that_may_be_skipped_are(self) -> None:
        self.assertEqual(wire.decode_fields(b"\x10\x01\x00a\x60\x00\x00"), {16: b"a", 96: b""})

    def test_frames_before_a_violation_count(self) -> None:
        decoder = Decoder()
        frames = decoder.feed(Frame(wire.PING, 3).encode() + b"\0" * 32)
        self.assertEqual(frames, [Frame(wire.PING, 3)])
        self.assertIsNotNone(decoder.violation)
        self.assertEqual(decoder.feed(Frame(wire.PING, 4).encode()), [])

    def test_each_truncation_of_a_datagram_is_a_violation(self) -> None:
        whole = Frame(wire.CALL, 1, fields={wire.SERVICE: b"upper"}, data=b"hi").encode()
        for length in range(len(whole)):
            with self.assertRaises(wire.Violation):
                wire.decode(whole[:length])
        with self.assertRaises(wire.Violation):
            wire.decode(whole + b"x")

    def test_a_long_text_is_cut_at_a_character(self) -> None:
        cut = wire.cut_text("é" * 2000)
        self.assertEqual((len(cut), cut.decode()), (2048, "é" * 1024))
        self.assertEqual(len(wire.cut_text("a" + "é" * 2000)), 2047)


class Bodies(unittest.TestCase):
    def test_bytes_stay_bytes_and_the_rest_is_json(self) -> None:
        self.assertEqual(Body.of(b"a"), Body(b"a", 0))
        self.assertEqual(Body.of({"a": "ü"}), Body('{"a":"ü"}'.encode(), JSON))
        self.assertEqual(Body.of(None), Body(b"null", JSON))

    def test_what_json_does_not_have_is_refused(self) -> None:
        for value in (float("nan"), object(), "\ud800", {1j: 2}):
            with self.subTest(value=repr(value)), self.assertRaises(Unreadable):
                dump(value)

    def test_what_is_not_json_is_refused(self) -> None:
        for data in (b"", b"{", b"NaN", b"\xff", b"1 2", b"[" * 100_000):
            with self.subTest(data=data[:4]), self.assertRaises(Unreadable):
                load(data)

    def test_an_unknown_encoding_is_kept_as_it_is(self) -> None:
        body = Body(b"\1", 9)
        self.assertIs(body.value(), body)


class Names(unittest.TestCase):
    def test_targets(self) -> None:
        self.assertEqual(name.target("calc.add"), {wire.SERVICE: b"calc.add"})
        self.assertEqual(name.target("calc", "add"), {wire.SERVICE: b"calc", wire.METHOD: b"add"})
        self.assertEqual(name.target("@17.add"), {wire.SERVICE: b"@17", wire.METHOD: b"add"})
        self.assertEqual(name.target("@17"), {wire.SERVICE: b"@17"})

    def test_what_is_no_target(self) -> None:
        for text in ("", "Calc", "a..b", ".a", "a.", "@", "@01", "@1.a.b", "@1.", "a b", "a" * 256):
            with self.subTest(text=text[:8]), self.assertRaises(ipcd.UsageError):
                name.target(text)

    def test_patterns(self) -> None:
        for text in ("a", "a.*.c", "**", "*", "a.**", "home.", "*.b"):
            self.assertEqual(name.pattern(text), text)
        for text in ("", "a.**.b", "a*", ".", "**.", "A"):
            with self.subTest(text=text), self.assertRaises(ipcd.UsageError):
                name.pattern(text)

    def test_times(self) -> None:
        self.assertEqual([to_ms(one) for one in (None, 0, 0.0011, 5, 1e9)], [0, 1, 2, 5000, 3_600_000])
        self.assertEqual(to_ms(float("inf")), 3_600_000)
        with self.assertRaises(ipcd.UsageError):
            to_ms(float("nan"))


class Addresses(unittest.TestCase):
    def test_the_environment_is_searched_in_order(self) -> None:
        def found(uid: int = 1000, **environ: str) -> str:
            return str(ipcd.Address.find(environ, uid))

        self.assertEqual(found(IPCD_SOCKET="/a", XDG_RUNTIME_DIR="/run/user/1"), "/a")
        self.assertEqual(found(IPCD_SOCKET="", XDG_RUNTIME_DIR="/run/user/1"), "/run/user/1/ipcd/ipcd.sock")
        self.assertEqual(found(XDG_RUNTIME_DIR="relative"), "/tmp/ipcd-1000/ipcd.sock")
        self.assertEqual(found(0), "/run/ipcd/ipcd.sock")

    def test_what_is_no_address(self) -> None:
        for text in ("", "/" + "a" * 101, "fd:x"):
            with self.subTest(text=text[:8]), self.assertRaises(ipcd.UsageError):
                ipcd.Address(text)

    @unittest.skipUnless(os.geteuid() == 0 and shutil.which("setpriv"), "only root can be another user")
    def test_root_does_not_follow_a_variable_to_the_broker_of_another_user(self) -> None:
        directory = tempfile.mkdtemp(prefix="ipcd-py-")
        self.addCleanup(shutil.rmtree, directory)
        os.chmod(directory, 0o777)
        path = os.path.join(directory, "sock")
        listen = f"import socket, sys; s = socket.socket(1); s.bind({path!r}); s.listen(); print(flush=True); sys.stdin.read()"
        command = ["setpriv", "--reuid", "65534", "--clear-groups", sys.executable, "-S", "-c", listen]
        with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as stranger:
            assert stranger.stdout is not None
            if not stranger.stdout.readline():
                self.skipTest("this python isn't for all users")
            with self.assertRaisesRegex(ipcd.Denied, "belongs to uid 65534"):
                ipcd.Client(ipcd.Address.find({"IPCD_SOCKET": path}))
            ipcd.Client(path).close()  # it is named

    def test_no_broker_is_unavailable(self) -> None:
        with self.assertRaises(ipcd.Unavailable) as raised:
            ipcd.Client("/nowhere/ipcd.sock")
        self.assertEqual(raised.exception.retry, "safe")


class Waits(unittest.TestCase):
    def test_pauses_grow_to_two_seconds_and_keep_half_of_each_step(self) -> None:
        backoff = Backoff()
        pauses = [backoff.pause() for _ in range(12)]
        self.assertTrue(0.025 <= pauses[0] <= 0.05)
        self.assertTrue(all(1.0 <= pause <= 2.0 for pause in pauses[7:]))


class Feeds(unittest.TestCase):
    def take(self, feed: Feed) -> "list[object]":
        taken = []
        while (notice := feed.take()) is not None:
            taken.append(notice.lost if isinstance(notice, Gap) else notice.value)
        return taken

    def filled(self, policy: str) -> Feed:
        feed = Feed(policy, 3)
        for value in range(5):
            feed.push(event("a" if value % 2 else "b", value))
        return feed

    def test_the_oldest_go_and_the_gap_stands_before_the_next(self) -> None:
        feed = self.filled("drop-oldest")
        self.assertEqual(feed.take(), Gap(2))
        self.assertEqual(self.take(feed), [2, 3, 4])

    def test_the_newest_go_and_the_gap_stands_behind(self) -> None:
        feed = self.filled("drop-newest")
        self.assertEqual(self.take(feed), [0, 1, 2, Gap(2).lost])

    def test_of_each_topic_the_latest_stays(self) -> None:
        self.assertEqual(self.take(self.filled("latest")), [3, 3, 4])  # three were lost before the last two

    def test_a_gap_of_the_broker_adds_up(self) -> None:
        feed = Feed("drop-oldest", 1)
        feed.push(event("a", 1))
        feed.lose(4)
        feed.push(event("a", 2))
        self.assertEqual(self.take(feed), [5, 2])

    def test_cut_ends_it_and_keeps_what_came(self) -> None:
        feed = self.filled("cut")
        self.assertEqual(self.take(feed), [0, 1, 2])
        self.assertIsInstance(feed.ended, ipcd.Busy)


class Flows(unittest.TestCase):
    def test_an_item_needs_credit_for_itself_and_its_bytes(self) -> None:
        flow = Flow(3, False, sends=True, receives=False)
        self.assertFalse(flow.spend(0))
        flow.allow(3, 10)
        self.assertTrue(flow.spend(25))
        self.assertFalse(flow.spend(0))
        flow.allow(0, 16)
        self.assertTrue(flow.spend(0))

    def test_credit_is_given_back_in_halves(self) -> None:
        flow = Flow(3, False, sends=False, receives=True)
        self.assertTrue(all(flow.arrive(Body(b"ab")) for _ in range(WINDOW_ITEMS)))
        self.assertFalse(flow.arrive(Body(b"ab")))
        given = []
        for _ in range(WINDOW_ITEMS):
            flow.take()
            given.append(flow.due())
        self.assertEqual([one for one in given if one], [(32, 64), (32, 64)])


class Arguments(unittest.TestCase):
    def setUp(self) -> None:
        self.methods = Methods("calc")

    def given(self, value: object) -> "tuple[tuple[object, ...], dict[str, object]]":
        return self.methods._methods["add"].arguments(Body.of(value), "the call")

    def test_members_go_by_name_and_places_by_order(self) -> None:
        @self.methods.method
        def add(a: int, b: int = 5) -> int:
            return a + b

        self.assertEqual(self.given({"b": 2, "a": 1}), ((1, 2), {}))
        self.assertEqual(self.given([1, 2]), ((1, 2), {}))
        self.assertEqual(self.given(1), ((1,), {}))
        self.assertEqual(self.given(b'{"a":1}'), ((1,), {}))

    def test_the_argument_that_is_wrong_is_named(self) -> None:
        @self.methods.method
        def add(a: int, b: float) -> float:
            return a + b

        wrong = [({"a": 1}, "'b'"), ({"a": 1, "b": 2, "c": 3}, "'c'"), ({"a": "1", "b": 2}, "'a'"), ([True, 1], "'a'")]
        for value, word in wrong:
            with self.subTest(value=value), self.assertRaisesRegex(ipcd.Invalid, word):
                self.given(value)
        self.assertEqual(self.given([1, 2]), ((1, 2), {}))

    def test_the_call_is_given_to_who_asks_for_it(self) -> None:
        @self.methods.method
        def add(call: ipcd.Call, a: int) -> int:
            return a

        self.assertEqual(self.given({"a": 1}), (("the call", 1), {}))
        with self.assertRaises(ipcd.Invalid):
            self.given({"call": 1, "a": 1})

    def test_bincode_is_refused_so_that_the_caller_sends_json(self) -> None:
        @self.methods.method
        def add(a: int) -> int:
            return a

        with self.assertRaisesRegex(ipcd.UnsupportedEncoding, "json"):
            self.given(Body(b"\2", ipcd.BINCODE))

    def test_two_methods_of_one_name_are_refused(self) -> None:
        self.methods.method("add")(lambda: None)
        with self.assertRaises(ipcd.UsageError):
            self.methods.method("add")(lambda: None)


class Errors(unittest.TestCase):
    def test_each_error_says_whether_it_may_have_run(self) -> None:
        self.assertEqual((ipcd.NoService("x").retry, ipcd.NoService("x").may_have_run), ("safe", False))
        self.assertEqual((ipcd.BrokerLost("x").retry, ipcd.BrokerLost("x").may_have_run), ("unknown", True))
        self.assertEqual(ipcd.DeadlineExceeded("late", safe=True).retry, "safe")

    def test_an_unknown_number_is_an_error_all_the_same(self) -> None:
        error = ipcd.error.received(999, "new", safe=False)
        self.assertEqual((error.code, error.name, error.retry), (999, "error_999", "unknown"))

    def test_one_tree(self) -> None:
        kinds = [kind for kind in vars(ipcd).values() if isinstance(kind, type) and issubclass(kind, Exception)]
        self.assertTrue(all(issubclass(kind, ipcd.Error) for kind in kinds))
        self.assertEqual(len(kinds), 22)

    def test_a_request_that_has_no_form_in_json_is_not_sent(self) -> None:
        with self.assertRaises(ipcd.Invalid):
            request.body_of({"a": object()})

    def test_each_notice_counts_as_one(self) -> None:
        self.assertTrue(all((ipcd.Gap(0), ipcd.Resumed())))


if __name__ == "__main__":
    unittest.main()
