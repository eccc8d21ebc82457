"""What can go wrong: the broker dies, a service dies, and a peer at the other end that is slow or hostile."""

from __future__ import annotations

import socket
import threading
import time
import tracemalloc
import unittest
from typing import Callable

import ipcd
from ipcd import frame as wire
from ipcd.frame import Frame
from support import SOON, BrokerCase, FalseBroker, FalseConnection, calc, eventually, welcome

CALLER = bytes(32)


class DeathOfTheBroker(BrokerCase):
    def test_a_pending_call_is_broker_lost_and_the_next_one_connects_again(self) -> None:
        begun, release = threading.Event(), threading.Event()
        service = self.service("slow", threads=2)

        @service.method
        def wait() -> None:
            begun.set()
            release.wait(SOON)

        service.method("two")(lambda: 2)
        self.serve(service)
        client = self.client()
        ticket = client.start("slow.wait")
        self.assertTrue(begun.wait(SOON))
        self.broker.restart()
        with self.assertRaises(ipcd.BrokerLost) as raised:
            ticket.wait()
        self.assertEqual(raised.exception.retry, "unknown")
        release.set()
        client.wait_for("slow", timeout=SOON)
        self.assertEqual(client.call("slow.two"), 2)

    def test_an_idle_client_does_not_notice(self) -> None:
        client = self.client()
        client.ping()
        self.broker.restart()
        client.wait_for("nowhere", gone=True)
        self.broker.restart()
        client.announce("home", 1)
        self.broker.restart()
        self.assertEqual(client.names(), [])

    def test_without_a_broker_a_call_is_unavailable(self) -> None:
        client = self.client()
        self.broker.kill()
        with self.assertRaises(ipcd.Unavailable) as raised:
            client.call("calc.add", [1, 2])
        self.assertEqual(raised.exception.retry, "safe")
        self.broker.start()
        self.assertEqual(client.names(), [])

    def test_a_service_comes_back_until_it_is_stopped(self) -> None:
        running = calc(self.service("calc")).start()
        client = self.client()
        for _ in range(2):
            self.broker.restart()
            client.wait_for("calc", timeout=SOON)
            self.assertEqual(client.call("calc.add", [1, 2]), 3)
        self.broker.kill()
        running.stop()
        self.broker.start()
        self.assertEqual(client.names(), [])

    def test_a_subscription_resumes_and_says_so_once(self) -> None:
        with self.client().subscribe("home.", last=True) as notices:
            self.broker.restart()
            self.assertEqual(notices.next(SOON), ipcd.Resumed())
            self.client().publish("home.hall", 1)
            event = notices.next(SOON)
            assert isinstance(event, ipcd.Event)
            self.assertEqual(event.value, 1)

    def test_a_sender_of_datagrams_finds_the_next_broker(self) -> None:
        with ipcd.Datagram(self.broker.socket) as sender:
            for _ in range(2):
                with self.assertRaises(ipcd.NoService):
                    sender.call("clock", timeout=SOON)
                self.broker.restart()

    def test_a_lock_is_gone(self) -> None:
        lock = self.client().lock("backup")
        self.broker.restart()
        self.assertFalse(lock.is_held)
        with self.assertRaises(ipcd.BrokerLost):
            lock.release()

    def test_a_stream_ends_with_broker_lost(self) -> None:
        service = self.service("talk")

        @service.stream
        def listen(call: ipcd.Call) -> None:
            for _ in call:
                pass

        running = service.start()
        with self.client().stream("talk.listen", send=True) as call:
            call.send(1)
            self.broker.kill()
            with self.assertRaises(ipcd.BrokerLost):
                call.end()
        running.stop()
        self.broker.start()

    def test_a_broker_that_hangs_is_given_up_after_the_deadline(self) -> None:
        client = self.client()
        client.ping()
        self.broker.pause()
        began = time.monotonic()
        with self.assertRaises(ipcd.DeadlineExceeded) as raised:
            client.call("calc.add", [1, 2], timeout=0.2)
        self.assertGreater(time.monotonic() - began, 0.2)
        self.assertTrue(raised.exception.may_have_run)
        self.broker.go_on()
        client.ping()


class DeathOfAService(BrokerCase):
    def test_its_callers_are_told_at_once(self) -> None:
        process = self.broker.python(
            "import ipcd, os\n"
            "service = ipcd.Service('mortal')\n"
            "service.method('die')(lambda: os._exit(1))\n"
            "@service.stream\n"
            "def drop(call: ipcd.Call):\n"
            "    next(call); os._exit(1)\n"
            "service.run()"
        )
        client = self.client()
        client.wait_for("mortal", timeout=SOON)
        with self.assertRaises(ipcd.ServiceGone) as raised:
            client.call("mortal.die")
        self.assertEqual(raised.exception.retry, "unknown")
        process.wait(SOON)
        self.assertEqual(client.names(), [])

    def test_in_the_middle_of_a_stream_the_items_that_reached_it_are_counted(self) -> None:
        self.broker.python(
            "import ipcd, os\n"
            "service = ipcd.Service('mortal')\n"
            "@service.stream\n"
            "def drop(call: ipcd.Call):\n"
            "    next(call); os._exit(1)\n"
            "service.run()"
        )
        client = self.client()
        client.wait_for("mortal", timeout=SOON)
        with client.stream("mortal.drop", send=True) as call:
            call.send(b"one")
            with self.assertRaises(ipcd.ServiceGone) as raised:
                call.end()
        self.assertEqual(raised.exception.delivered, 1)

    def test_a_subscriber_that_does_not_read_harms_only_itself(self) -> None:
        slow, publisher = self.client(), self.client()
        notices = slow.subscribe("log", queue=100)
        for n in range(3000):
            publisher.announce("log", bytes(1000))
        publisher.ping()
        self.assertEqual(publisher.names(), [])
        first = notices.next(SOON)
        self.assertIsNotNone(first)


class HostileBroker(unittest.TestCase):
    def against(self, conduct: Callable[[FalseConnection], None]) -> ipcd.Client:
        broker = FalseBroker(conduct)
        self.addCleanup(broker.stop)
        client = ipcd.Client(broker.path)
        self.addCleanup(client.close)
        return client

    def answering(self, *frames: bytes) -> ipcd.Client:
        """A broker that answers the first call with these bytes, as they are."""

        def conduct(connection: FalseConnection) -> None:
            connection.welcome()
            connection.expect(wire.CALL)
            for frame in frames:
                connection.socket.sendall(frame)
            connection.until_closed()

        return self.against(conduct)

    def test_what_breaks_the_protocol_ends_the_call_and_takes_no_memory(self) -> None:
        def header(**changes: int) -> bytes:
            fields = dict(magic=0xC1, version=1, kind=wire.REPLY, encoding=0, flags=0, fds=0, reserved=0, id=1)
            rest = dict(body=0, routing=0, code=0, time_ms=0, detail=0)
            return wire.HEADER.pack(*{**fields, **rest, **changes}.values())

        hostile = {
            "a body of 4 GiB": header(body=2**32 - 1),
            "a long routing section": header(routing=65535),
            "descriptors": header(fds=3),
            "an unknown kind": header(kind=99),
            "another magic": b"HTTP/1.1 400 Bad Request\r\n\r\n" * 2,
            "a field past the end": header(routing=3) + b"\5\xff\xff",
            "a field that must be understood": Frame(wire.REPLY, 1, fields={200: b""}).encode(),
            "a kind that only clients send": Frame(wire.HELLO).encode(),
            "a second welcome": welcome().encode(),
            "an event without a topic": Frame(wire.EVENT, 1).encode(),
            "a gap without a count": Frame(wire.GAP, 1).encode(),
            "a call without a caller": Frame(wire.CALL, 1, fields={wire.SERVICE: b"a"}).encode(),
            "a stamp that is cut short": Frame(wire.CALL, 1, fields={wire.CALLER: bytes(31)}).encode(),
        }
        for name, data in hostile.items():
            with self.subTest(name):
                client = self.answering(data)
                tracemalloc.start()
                with self.assertRaises(ipcd.ProtocolError) as raised:
                    client.call("calc.add", timeout=SOON)
                _, peak = tracemalloc.get_traced_memory()
                tracemalloc.stop()
                self.assertTrue(raised.exception.may_have_run)
                self.assertLess(peak, 1 << 20)

    def test_a_goodbye_says_what_the_violation_was(self) -> None:
        said = []

        def conduct(connection: FalseConnection) -> None:
            connection.welcome()
            connection.expect(wire.CALL)
            connection.send(Frame(99))
            said.append(connection.expect(wire.GOODBYE))

        with self.assertRaises(ipcd.ProtocolError):
            self.against(conduct).call("a")
        eventually(lambda: bool(said), "a goodbye")
        self.assertEqual((said[0].code, said[0].text(wire.TEXT)), (15, "kind 99 isn't known"))

    def test_what_is_not_waited_for_is_ignored(self) -> None:
        strays = [
            Frame(wire.REPLY, 999),
            Frame(wire.ERROR, 999, code=8),
            Frame(wire.PONG, 999),
            Frame(wire.CANCEL, 999, code=19),
            Frame(wire.ITEM, 1, data=b"x"),
            Frame(wire.END, 1),
            Frame(wire.CREDIT, 999, fields={wire.COUNT: wire.u64(1)}),
            Frame(wire.EVENT, 999, fields={wire.TOPIC: b"a"}),
            Frame(wire.GAP, 999, fields={wire.COUNT: wire.u64(1)}),
        ]
        client = self.answering(*(frame.encode() for frame in strays), Frame(wire.REPLY, 1, data=b"ok").encode())
        self.assertEqual(client.call("calc.add", timeout=SOON), b"ok")

    def test_a_broker_that_sends_a_byte_at_a_time_is_understood(self) -> None:
        def conduct(connection: FalseConnection) -> None:
            connection.expect(wire.HELLO)
            for byte in welcome().encode() + Frame(wire.PING, 5).encode() + Frame(wire.REPLY, 1, data=b"ok").encode():
                connection.socket.sendall(bytes([byte]))
            connection.until_closed()

        self.assertEqual(self.against(conduct).call("calc.add", timeout=SOON), b"ok")

    def test_a_broker_that_neither_reads_nor_answers_holds_no_caller(self) -> None:
        client = self.against(lambda connection: threading.Event().wait(SOON) and None)
        with self.assertRaises(ipcd.DeadlineExceeded):
            for _ in range(100):
                client.call("calc.add", bytes(1_000_000), timeout=0.05)

    def test_a_refused_connection_says_why(self) -> None:
        def conduct(connection: FalseConnection) -> None:
            connection.send(Frame(wire.GOODBYE, code=14, fields={wire.TEXT: b"too many connections"}))
            connection.socket.shutdown(socket.SHUT_RDWR)

        with self.assertRaisesRegex(ipcd.Busy, "too many connections") as raised:
            self.against(conduct).call("calc.add", timeout=SOON)
        self.assertEqual(raised.exception.retry, "safe")

    def test_a_broker_that_hangs_up_in_the_middle_of_a_frame(self) -> None:
        def conduct(connection: FalseConnection) -> None:
            connection.welcome()
            connection.expect(wire.CALL)
            connection.socket.sendall(Frame(wire.REPLY, 1, data=b"whole").encode()[:-2])
            connection.socket.shutdown(socket.SHUT_RDWR)

        with self.assertRaises(ipcd.BrokerLost) as raised:
            self.against(conduct).call("calc.add", timeout=SOON)
        self.assertEqual(raised.exception.retry, "unknown")

    def test_a_reply_that_is_no_json_is_told_as_such(self) -> None:
        client = self.answering(Frame(wire.REPLY, 1, encoding=2, data=b"[" * 100_000).encode())
        with self.assertRaises(ipcd.Invalid) as raised:
            client.call("calc.add", timeout=SOON)
        self.assertTrue(raised.exception.may_have_run)

    def test_a_subscription_without_a_number_breaks_the_protocol(self) -> None:
        for body in (b"{}", b"[]", b"1", b"{", b'{"subscription":-1}', b'{"subscription":"1"}'):
            with self.subTest(body=body), self.assertRaises(ipcd.ProtocolError):
                self.answering(Frame(wire.REPLY, 1, encoding=2, data=body).encode()).subscribe("home")

    def test_items_beyond_the_credit_break_the_protocol(self) -> None:
        client = self.answering(Frame(wire.ITEM, 1).encode() * 100)
        with client.stream("calc.count") as call, self.assertRaises(ipcd.ProtocolError):
            list(call)

    def test_more_calls_than_a_service_takes_break_the_protocol(self) -> None:
        ended = threading.Event()

        def conduct(connection: FalseConnection) -> None:
            connection.welcome()
            connection.expect(wire.CALL)
            connection.send(Frame(wire.REPLY, 1, encoding=2, data=b'{"peer":7}'))
            fields = {wire.CALLER: CALLER, wire.SERVICE: b"flooded"}
            try:
                for number in range(10_000):
                    connection.send(Frame(wire.CALL, number + 1, time_ms=1000, fields=fields))
                connection.until_closed()
            finally:
                ended.set()

        broker = FalseBroker(conduct)
        self.addCleanup(broker.stop)
        service = ipcd.Service("flooded", address=broker.path, window=2)
        service.method(default=True)(lambda: None)
        running = service.start()
        self.assertTrue(ended.wait(SOON))
        service.stop()
        running.stop()

    def test_a_call_to_a_client_is_refused(self) -> None:
        answers = []

        def conduct(connection: FalseConnection) -> None:
            connection.welcome()
            connection.send(Frame(wire.CALL, 9, fields={wire.CALLER: CALLER, wire.SERVICE: b"@7"}))
            answers.append(connection.expect(wire.ERROR))
            connection.send(Frame(wire.REPLY, 1, data=b"ok"))
            connection.until_closed()

        self.assertEqual(self.against(conduct).call("calc.add", timeout=SOON), b"ok")
        self.assertEqual((answers[0].id, answers[0].code), (9, ipcd.NoMethod.code))


if __name__ == "__main__":
    unittest.main()
