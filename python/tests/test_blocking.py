"""A blocking client and services on a real broker."""

from __future__ import annotations

import os
import socket
import threading
import time
import unittest
from typing import Any

import ipcd
from ipcd.service import DRAIN
from support import SOON, BrokerCase, eventually


class Calls(BrokerCase):
    def test_json_and_bytes_cross(self) -> None:
        service = self.service("echo")

        @service.raw(default=True)
        def back(body: ipcd.Body) -> ipcd.Body:
            return body

        self.serve(service)
        client = self.client()
        for value in ({"a": [1, None, "ü"]}, b"\0\xff", "text", 7, None, [], b""):
            self.assertEqual(client.call("echo", value), value)
        self.assertEqual(client.call("echo", ipcd.Body(b"\1", 9)), ipcd.Body(b"\1", 9))

    def test_an_error_of_the_service_has_its_code_and_value(self) -> None:
        self.calc()
        with self.assertRaises(ipcd.AppError) as raised:
            self.client().call("calc.div", {"a": 1, "b": 0})
        error = raised.exception
        self.assertEqual((error.app_code, error.value, error.text), (2, "DivisionByZero", "division by zero"))
        self.assertTrue(error.may_have_run)

    def test_refusals_say_what_is_wrong_and_that_nothing_has_run(self) -> None:
        self.calc()
        client = self.client()
        wrong = [
            ("calc.add", {"a": 1}, ipcd.Invalid, "'b'"),
            ("calc.add", {"a": 1, "b": "2"}, ipcd.Invalid, "'b'"),
            ("calc.sub", {}, ipcd.NoMethod, "sub"),
            ("clock", {}, ipcd.NoService, "clock"),
            ("calc.add", b"x" * (1 << 20) + b"x", ipcd.TooLarge, "1048577"),
        ]
        for target, argument, kind, word in wrong:
            with self.subTest(target=target), self.assertRaisesRegex(kind, word) as raised:
                client.call(target, argument)
            self.assertEqual(raised.exception.retry, "safe")

    def test_a_method_that_fails_is_internal_and_the_service_lives_on(self) -> None:
        self.calc()
        client = self.client()
        with self.assertLogs("ipcd"), self.assertRaisesRegex(ipcd.Internal, "ValueError: a factorial"):
            client.call("calc.factorial", 100)
        self.assertEqual(client.call("calc.factorial", [20]), 2432902008176640000)

    def test_many_calls_are_under_way_at_once(self) -> None:
        self.calc(threads=2, window=64)
        client = self.client()
        tickets = [client.start("calc.add", [n, n]) for n in range(300)]
        self.assertEqual([ticket.wait() for ticket in tickets], [2 * n for n in range(300)])

    def test_a_crowd_of_large_calls_that_are_not_waited_for_does_not_dead_lock(self) -> None:
        service = self.service("echo", window=4)
        service.raw(default=True)(lambda body: body)
        self.serve(service)
        client = self.client()
        tickets = [client.start("echo", bytes(65536)) for _ in range(50)]  # less than the broker keeps for a peer
        self.assertEqual({len(ticket.wait()) for ticket in tickets}, {65536})

    def test_a_deadline_ends_the_call_and_tells_the_service(self) -> None:
        seen = threading.Event()
        service = self.service("slow")

        @service.method(default=True)
        def slow(call: ipcd.Call) -> None:
            if call.wait_cancelled(SOON):
                seen.set()

        self.serve(service)
        with self.assertRaises(ipcd.DeadlineExceeded) as raised:
            self.client().call("slow", timeout=0.2)
        self.assertTrue(raised.exception.may_have_run)
        self.assertTrue(seen.wait(SOON))

    def test_a_call_that_is_given_up_is_cancelled_at_its_service(self) -> None:
        begun, cancelled = threading.Event(), threading.Event()
        service = self.service("slow")

        @service.method(default=True)
        def slow(call: ipcd.Call) -> None:
            begun.set()
            eventually(lambda: call.is_cancelled, "a cancel")
            cancelled.set()

        self.serve(service)
        ticket = self.client().start("slow")
        self.assertTrue(begun.wait(SOON))
        self.assertFalse(ticket.is_done)
        ticket.cancel()
        self.assertTrue(cancelled.wait(SOON))
        with self.assertRaises(ipcd.Cancelled):
            ticket.wait()

    def test_a_one_way_call_runs_and_a_refused_one_is_told(self) -> None:
        told = threading.Event()
        service = self.service("note")
        service.method(default=True)(told.set)
        self.serve(service)
        client = self.client()
        client.notify("note")
        self.assertTrue(told.wait(SOON))
        with self.assertRaises(ipcd.NoService):
            client.notify("nowhere")

    def test_who_calls_is_stamped_by_the_broker(self) -> None:
        service = self.service("whoami")

        @service.method(default=True)
        def whoami(call: ipcd.Call) -> "list[object]":
            caller = call.caller
            return [caller.uid, caller.gid, caller.pid, caller.peer, call.trace, call.service, call.time_left > 0]

        self.serve(service)
        client = self.client()
        stamp = client.call("whoami", trace="00-1")
        self.assertEqual(stamp, [os.getuid(), os.getgid(), os.getpid(), client.peer, "00-1", "whoami", True])

    def test_a_service_without_a_name_is_called_by_its_number(self) -> None:
        service = self.serve(calc_without_a_name(self))
        self.assertEqual(self.client().call(f"@{service.client.peer}.two"), 2)

    def test_a_nested_call_has_no_more_time_than_its_own(self) -> None:
        outer, inner = self.service("outer"), self.service("inner")

        @inner.method(default=True)
        def wait(call: ipcd.Call) -> float:
            return call.time_left

        @outer.method(default=True)
        def ask(call: ipcd.Call) -> object:
            return call.client.call("inner", timeout=60)

        self.serve(inner)
        self.serve(outer)
        self.assertLess(self.client().call("outer", timeout=3), 3)

    def test_what_a_nested_call_ends_with_is_passed_on_as_internal(self) -> None:
        outer = self.service("outer")
        outer.method("ask")(ask_nowhere)
        self.serve(outer)
        with self.assertRaisesRegex(ipcd.Internal, "nested call ended with no_service"):
            self.client().call("outer.ask")

    def test_a_taken_name_is_told(self) -> None:
        self.calc()
        with self.assertRaises(ipcd.NameTaken):
            self.service("calc").run()

    def test_names_appear_and_go(self) -> None:
        client = self.client()
        running = self.service("calc").start()
        client.wait_for("calc", timeout=SOON)
        self.assertEqual(client.names(), ["calc"])
        running.stop()
        client.wait_for("calc", gone=True, timeout=SOON)
        self.assertEqual(client.names("c."), [])
        client.ping()

    def test_calls_that_run_when_a_service_is_stopped_are_answered(self) -> None:
        begun, go_on = threading.Event(), threading.Event()
        service = self.service("slow")

        @service.method(default=True)
        def slow() -> str:
            begun.set()
            go_on.wait(SOON)
            return "done"

        running = service.start()
        ticket = self.client().start("slow")
        self.assertTrue(begun.wait(SOON))
        service.stop()
        go_on.set()
        self.assertEqual(ticket.wait(), "done")
        running.stop()

    def test_a_stop_waits_for_another_thread_s_call_and_no_longer(self) -> None:
        begun, go_on = threading.Event(), threading.Event()
        service = self.service("slow", threads=3)

        @service.method(default=True)
        def slow() -> str:
            begun.set()
            go_on.wait(SOON)
            return "done"

        running = service.start()
        client = self.client()
        ticket = client.start("slow")
        self.assertTrue(begun.wait(SOON))
        service.stop()
        client.wait_for("slow", gone=True, timeout=SOON)
        go_on.set()
        self.assertEqual(ticket.wait(), "done")
        began = time.monotonic()
        running.stop()
        self.assertLess(time.monotonic() - began, DRAIN - 1)

    def test_a_service_serves_once_and_a_stop_before_that_is_kept(self) -> None:
        service = self.service("calc")
        service.stop()
        service.run()
        with self.assertRaisesRegex(ipcd.UsageError, "once"):
            service.run()

    def test_a_time_without_end_is_the_longest_there_is(self) -> None:
        self.calc()
        self.assertEqual(self.client().call("calc.add", [1, 2], timeout=float("inf")), 3)
        with ipcd.Datagram(self.broker.socket) as sender:
            self.assertEqual(sender.call("calc.add", [1, 2], timeout=float("inf")), 3)

        with self.client().subscribe("log") as notices:
            self.client().announce("log", 1)
            self.assertIsInstance(notices.next(timeout=float("inf")), ipcd.Event)

    def test_what_is_no_time_or_no_target_is_a_mistake_that_is_named(self) -> None:
        client = self.client()
        for timeout in ("1", float("nan"), [1]):
            wrong: Any = timeout
            with self.subTest(timeout=timeout), self.assertRaisesRegex(ipcd.UsageError, "number of seconds"):
                client.call("calc.add", timeout=wrong)
            with self.subTest(timeout=timeout), self.assertRaisesRegex(ipcd.UsageError, "number of seconds"):
                client.lock("backup", timeout=wrong)
        for target in (None, 7, b"calc.add", ["calc"]):
            nothing: Any = target
            with self.subTest(target=target), self.assertRaisesRegex(ipcd.UsageError, "must be a text"):
                client.call(nothing)
        with self.assertRaises(ipcd.DeadlineExceeded):
            client.wait_for("nowhere", timeout=float("-inf"))

    def test_functions_that_cannot_be_methods_are_refused_at_once(self) -> None:
        service = self.service("calc")

        async def wait() -> None: ...

        def readFile() -> None: ...

        for offer in (service.method, service.raw, service.stream, service.any):
            with self.assertRaisesRegex(ipcd.UsageError, "ipcd.aio.Service"):
                offer(wait)
        with self.assertRaisesRegex(ipcd.UsageError, "'readFile'.*Name it: @service.method"):
            service.method(readFile)
        service.method("read-file")(readFile)

    def test_a_service_without_a_default_method_says_which_it_has(self) -> None:
        self.calc()
        with self.assertRaisesRegex(ipcd.NoMethod, r"no default method \(it has add, div, factorial\)"):
            self.client().call("calc", 1)

    def test_a_kind_of_error_of_the_service_s_own_is_an_app_error(self) -> None:
        class OutOfStock(ipcd.AppError):
            """There is none left."""

        service = self.service("shop")

        @service.method
        def buy() -> None:
            raise OutOfStock("no apples", app_code=4)

        self.serve(service)
        with self.assertRaises(ipcd.AppError) as raised:
            self.client().call("shop.buy")
        self.assertEqual((raised.exception.app_code, raised.exception.text), (4, "no apples"))

    def test_a_service_may_have_more_methods_than_a_registration_has_room_for(self) -> None:
        service = self.service("many")
        for number in range(500):
            service.method(f"method{number}")(lambda: "here")
        self.serve(service)
        self.assertEqual(self.client().call("many.method499"), "here")

    def test_after_close_the_next_call_is_refused(self) -> None:
        client = self.client()
        client.close()
        with self.assertRaises(ipcd.BrokerLost) as raised:
            client.call("calc.add", [1, 2])
        self.assertEqual(raised.exception.retry, "safe")


def calc_without_a_name(case: BrokerCase) -> ipcd.Service:
    service = case.service(None)
    service.method("two")(lambda: 2)
    return service


def ask_nowhere(call: ipcd.Call) -> object:
    return call.client.call("nowhere")


class Streams(BrokerCase):
    def setUp(self) -> None:
        super().setUp()
        service = self.service("store", threads=2)

        @service.stream
        def put(call: ipcd.Call) -> int:
            return sum(len(item) for item in call)

        @service.stream
        def count(to: int):  # type: ignore[no-untyped-def]
            yield from range(to)
            return "counted"

        @service.stream
        def shout(call: ipcd.Call) -> None:
            for item in call:
                call.send(item.upper())

        @service.stream
        def refuse(call: ipcd.Call) -> None:
            raise ipcd.Denied("not today")

        @service.method
        def plain() -> None:
            pass

        self.serve(service)

    def test_items_go_up_beyond_the_credit(self) -> None:
        with self.client().stream("store.put", send=True, receive=False) as call:
            for _ in range(300):
                call.send(bytes(10_000))
            self.assertEqual(call.end(), 3_000_000)

    def test_items_come_down_and_the_reply_behind_them(self) -> None:
        with self.client().stream("store.count", 1000) as call:
            self.assertEqual(list(call), list(range(1000)))
            self.assertEqual(call.end(), "counted")

    def test_both_ways_a_thread_each(self) -> None:
        with self.client().stream("store.shout", send=True) as call:

            def send() -> None:
                for n in range(500):
                    call.send(f"item {n}")
                call.finish()

            sender = threading.Thread(target=send)
            sender.start()
            self.assertEqual(list(call), [f"ITEM {n}" for n in range(500)])
            sender.join()
            self.assertIsNone(call.end())

    def test_a_stream_that_is_refused_says_why(self) -> None:
        with self.client().stream("store.refuse", send=True) as call, self.assertRaises(ipcd.Denied):
            for _ in range(1000):
                call.send(b"item")

    def test_what_the_caller_could_not_produce_reaches_the_service(self) -> None:
        with self.client().stream("store.put", send=True) as call:
            call.send(b"one")
            call.fail(ipcd.AppError("the disk is gone", app_code=5))
            with self.assertRaisesRegex(ipcd.Internal, "the disk is gone"):
                call.end()

    def test_a_wrong_mix_is_invalid(self) -> None:
        client = self.client()
        with self.assertRaises(ipcd.Invalid):
            client.call("store.put")
        with client.stream("store.plain") as call, self.assertRaises(ipcd.Invalid):
            call.end()

    def test_a_method_that_sends_refuses_a_call_that_takes_nothing(self) -> None:
        with self.client().stream("store.count", 3, send=True, receive=False) as call:
            with self.assertRaisesRegex(ipcd.Invalid, "takes none"):
                call.end()

    def test_a_caller_who_leaves_ends_the_service_s_side(self) -> None:
        with self.client().stream("store.count", 10_000_000) as call:
            self.assertEqual(next(iter(call)), 0)
        with self.assertRaises(ipcd.Cancelled):
            call.end()
        self.assertEqual(self.client().call("store.plain"), None)

    def test_a_wait_for_an_item_can_have_an_end(self) -> None:
        with self.client().stream("store.shout", send=True) as call:
            with self.assertRaises(TimeoutError):
                call.receive(0.05)
            call.send("a")
            item = call.receive(SOON)
            assert item is not None
            self.assertEqual(item.value(), "A")


class Events(BrokerCase):
    def test_an_event_reaches_each_pattern_that_matches(self) -> None:
        client, other = self.client(), self.client()
        with client.subscribe("home.") as home, client.subscribe("*.kitchen") as kitchen:
            self.assertEqual(other.publish("home.kitchen", {"celsius": 21.5}), 2)
            self.assertEqual(other.publish("work.hall", 1), 0)
            for notices in (home, kitchen):
                event = notices.next(SOON)
                assert isinstance(event, ipcd.Event)
                self.assertEqual((event.topic, event.value, event.sequence), ("home.kitchen", {"celsius": 21.5}, 1))
                assert event.publisher is not None
                self.assertEqual(event.publisher.peer, other.peer)
            self.assertIsNone(home.next(0))
        with self.assertRaisesRegex(ipcd.Error, "was closed"):
            home.next()
        self.assertEqual(list(home), [])

    def test_a_kept_event_comes_to_those_who_are_late(self) -> None:
        client = self.client()
        client.publish("home.hall", b"18", retain=True)
        with client.subscribe("home.", last=True) as notices:
            event = notices.next(SOON)
            assert isinstance(event, ipcd.Event)
            self.assertEqual((event.value, event.retained), (b"18", True))
        client.clear("home.hall")
        with client.subscribe("home.", last=True) as notices:
            client.announce("home.hall", b"19")
            event = notices.next(SOON)
            assert isinstance(event, ipcd.Event)
            self.assertEqual((event.value, event.retained), (b"19", False))

    def test_a_slow_subscriber_finds_the_exact_number_of_lost_events(self) -> None:
        client, publisher = self.client(), self.client()
        with client.subscribe("log", queue=10) as notices:
            for n in range(5000):
                publisher.announce("log", n)
            publisher.ping()
            client.ping()
            found = []
            while (notice := notices.next(0)) is not None:
                found.append(notice)
        lost = sum(notice.lost for notice in found if isinstance(notice, ipcd.Gap))
        events = [notice.value for notice in found if isinstance(notice, ipcd.Event)]
        self.assertEqual(lost + len(events), 5000)
        self.assertEqual(events[-1], 4999)
        self.assertEqual(events, sorted(events))

    def test_a_refused_topic_or_pattern_is_told(self) -> None:
        client = self.client()
        with self.assertRaises(ipcd.Denied):
            client.publish("ipc.mine", 1)
        with self.assertRaises(ipcd.UsageError):
            client.subscribe("Not A Pattern")
        with self.assertRaises(ipcd.UsageError):
            client.subscribe("a", policy="never")

    def test_the_broker_tells_of_names(self) -> None:
        client = self.client()
        with client.subscribe("ipc.name.") as notices:
            self.calc()
            event = next(notices)
            assert isinstance(event, ipcd.Event)
            self.assertEqual((event.topic, event.value["name"], event.publisher), ("ipc.name.added", "calc", None))


class Locks(BrokerCase):
    def test_one_holds_and_the_other_waits(self) -> None:
        client, other = self.client(), self.client()
        lock = client.lock("backup")
        self.assertTrue(lock.is_held)
        with self.assertRaises(ipcd.Busy):
            other.try_lock("backup")
        with self.assertRaises(ipcd.DeadlineExceeded):
            other.lock("backup", timeout=0.1)
        lock.release()
        self.assertFalse(lock.is_held)
        with other.lock("backup", timeout=SOON) as mine:
            self.assertTrue(mine.is_held)

    def test_a_semaphore_has_places(self) -> None:
        clients = [self.client() for _ in range(3)]
        held = [client.try_lock("pool", places=2) for client in clients[:2]]
        with self.assertRaises(ipcd.Busy):
            clients[2].try_lock("pool", places=2)
        held[0].release()
        clients[2].lock("pool", places=2, timeout=SOON)

    def test_a_lock_goes_with_its_connection(self) -> None:
        client = self.client()
        lock = client.lock("backup")
        client.close()
        self.assertFalse(lock.is_held)
        self.client().lock("backup", timeout=SOON)


class Datagrams(BrokerCase):
    def test_a_call_an_event_and_errors(self) -> None:
        self.calc()
        with ipcd.Datagram(self.broker.socket) as sender:
            self.assertEqual(sender.call("calc.add", [1, 2], timeout=SOON), 3)
            with self.assertRaises(ipcd.NoService):
                sender.call("clock", timeout=SOON)
            with self.assertRaises(ipcd.TooLarge):
                sender.call("calc.add", bytes(65536))
            with self.client().subscribe("home") as notices:
                sender.announce("home", 1)
                event = notices.next(SOON)
                assert isinstance(event, ipcd.Event)
                self.assertEqual((event.value, event.sequence), (1, None))


    def test_a_closed_sender_says_so(self) -> None:
        sender = ipcd.Datagram(self.broker.socket)
        sender.close()
        with self.assertRaisesRegex(ipcd.UsageError, "closed"):
            sender.notify("clock")


class Interrupts(BrokerCase):
    """A KeyboardInterrupt may come between any two steps of a program."""

    class Interrupted:
        """A socket whose next work is interrupted after it was done."""

        def __init__(self, inner: socket.socket, work: str) -> None:
            self.inner, self.work = inner, work

        def __getattr__(self, name: str) -> Any:
            whole = getattr(self.inner, name)

            def cut(*arguments: Any) -> None:
                self.work = ""
                whole(*arguments)
                raise KeyboardInterrupt

            return cut if name == self.work else whole

    def test_bytes_are_neither_sent_twice_nor_missed(self) -> None:
        self.calc()
        client = self.client()
        for work in ("send", "recv"):
            with self.subTest(work):
                connection = client._line.connection
                setattr(connection, "_socket", self.Interrupted(connection._socket, work))
                with self.assertRaises(KeyboardInterrupt):
                    client.call("calc.add", [1, 2])
                self.assertEqual(client.call("calc.add", [3, 4]), 7)


class Threads(BrokerCase):
    def test_threads_share_a_client(self) -> None:
        """Each thread gets its own answers, whichever of them reads."""
        self.calc(threads=2, window=16)
        client = self.client()
        wrong = []

        def call(thread: int) -> None:
            for n in range(100):
                if client.call("calc.add", [thread, n * 1000]) != thread + n * 1000:
                    wrong.append((thread, n))

        threads = [threading.Thread(target=call, args=(thread,)) for thread in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(60)
        self.assertFalse(any(thread.is_alive() for thread in threads))
        self.assertEqual(wrong, [])

    def test_a_subscription_a_stream_and_calls_share_a_client(self) -> None:
        service = self.service("mixed", threads=2, window=8)
        service.method("two")(lambda: 2)

        @service.stream
        def count(to: int):  # type: ignore[no-untyped-def]
            yield from range(to)

        self.serve(service)
        client, results = self.client(), {}
        notices = client.subscribe("log")

        def subscribe() -> None:
            results["events"] = [notices.next(SOON) for _ in range(200)]

        def stream() -> None:
            with client.stream("mixed.count", 2000) as call:
                results["items"] = list(call)

        def calls() -> None:
            results["calls"] = [client.call("mixed.two") for _ in range(200)]

        threads = [threading.Thread(target=one) for one in (subscribe, stream, calls)]
        for thread in threads:
            thread.start()
        for n in range(200):
            client.announce("log", n)
        for thread in threads:
            thread.join(60)
        self.assertEqual([event.value for event in results["events"]], list(range(200)))
        self.assertEqual(results["items"], list(range(2000)))
        self.assertEqual(results["calls"], [2] * 200)

    def test_a_thread_that_waits_long_holds_no_other_up(self) -> None:
        release = threading.Event()
        service = self.service("slow", threads=2)
        service.method("wait")(lambda: release.wait(SOON))
        service.method("two")(lambda: 2)
        self.serve(service)
        client = self.client()
        waiting = threading.Thread(target=client.call, args=("slow.wait",))
        waiting.start()
        self.assertEqual([client.call("slow.two") for _ in range(20)], [2] * 20)
        release.set()
        waiting.join(SOON)
        self.assertFalse(waiting.is_alive())

    def test_closing_ends_the_waits_of_other_threads(self) -> None:
        begun, release = threading.Event(), threading.Event()
        service = self.service("slow")

        @service.method(default=True)
        def slow() -> None:
            begun.set()
            release.wait(SOON)

        self.serve(service)
        client, ended = self.client(), []

        def wait() -> None:
            try:
                client.call("slow")
            except ipcd.BrokerLost as error:
                ended.append(error)

        waiting = threading.Thread(target=wait)
        waiting.start()
        self.assertTrue(begun.wait(SOON))
        client.close()
        waiting.join(SOON)
        release.set()
        self.assertEqual(len(ended), 1)


if __name__ == "__main__":
    unittest.main()
