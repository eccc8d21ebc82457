"""A client and services with asyncio, on a real broker."""

from __future__ import annotations

import asyncio
import sys
import unittest
from typing import AsyncIterator

import ipcd
import ipcd.aio
from ipcd import frame as wire
from support import SOON, AioCase, FalseBroker, FalseConnection, calc


class Calls(AioCase):
    def service(self, name: str = "calc") -> ipcd.aio.Service:
        service = ipcd.aio.Service(name, address=self.broker.socket)

        @service.method
        async def add(a: int, b: int) -> int:
            await asyncio.sleep(0)
            return a + b

        @service.method
        def div(a: int, b: int) -> int:
            if b == 0:
                raise ipcd.AppError("division by zero", app_code=2)
            return a // b

        return service

    async def test_calls_run_at_once_on_one_connection(self) -> None:
        await self.serve(self.service())
        client = await self.client()
        sums = await asyncio.gather(*(client.call("calc.add", [n, n]) for n in range(300)))
        self.assertEqual(sums, [2 * n for n in range(300)])

    async def test_a_blocking_client_calls_it_and_the_other_way_round(self) -> None:
        await self.serve(self.service())
        loop = asyncio.get_running_loop()
        with ipcd.Client(self.broker.socket) as blocking:
            self.assertEqual(await loop.run_in_executor(None, blocking.call, "calc.add", [1, 2]), 3)
        with calc(ipcd.Service("other", address=self.broker.socket)).start():
            self.assertEqual(await (await self.client()).call("other.add", {"a": 1, "b": 2}), 3)

    async def test_errors_are_the_same(self) -> None:
        await self.serve(self.service())
        client = await self.client()
        for target, argument, kind in (
            ("calc.div", [1, 0], ipcd.AppError),
            ("calc.div", [1], ipcd.Invalid),
            ("calc.sub", [1], ipcd.NoMethod),
            ("clock", [1], ipcd.NoService),
        ):
            with self.subTest(target=target), self.assertRaises(kind):
                await client.call(target, argument)
        with self.assertRaises(ipcd.NoService):
            await client.notify("clock")
        await client.notify("calc.add", [1, 2])
        await client.ping()
        self.assertEqual(await client.names(), ["calc"])

    async def test_a_task_that_is_cancelled_cancels_its_call(self) -> None:
        begun, cancelled = asyncio.Event(), asyncio.Event()
        service = ipcd.aio.Service("slow", address=self.broker.socket)

        @service.method(default=True)
        async def slow() -> None:
            begun.set()
            try:
                await asyncio.sleep(SOON)
            except asyncio.CancelledError:
                cancelled.set()
                raise

        await self.serve(service)
        task = asyncio.ensure_future((await self.client()).call("slow"))
        await asyncio.wait_for(begun.wait(), SOON)
        task.cancel()
        with self.assertRaises(asyncio.CancelledError):
            await task
        await asyncio.wait_for(cancelled.wait(), SOON)

    async def test_a_deadline_cancels_the_task_of_the_method_and_of_what_it_calls(self) -> None:
        ended = asyncio.Event()
        outer, inner = (ipcd.aio.Service(name, address=self.broker.socket) for name in ("outer", "inner"))

        @inner.method(default=True)
        async def wait() -> None:
            try:
                await asyncio.sleep(SOON)
            finally:
                ended.set()

        @outer.method(default=True)
        async def ask(call: ipcd.aio.Call) -> object:
            return await call.client.call("inner")

        await self.serve(inner)
        await self.serve(outer)
        with self.assertRaises(ipcd.DeadlineExceeded):
            await (await self.client()).call("outer", timeout=0.2)
        await asyncio.wait_for(ended.wait(), SOON)

    async def test_a_service_that_runs_is_stopped_and_answers_first(self) -> None:
        begun, go_on = asyncio.Event(), asyncio.Event()
        service = ipcd.aio.Service("slow", address=self.broker.socket)

        @service.method(default=True)
        async def slow() -> str:
            begun.set()
            await go_on.wait()
            return "done"

        running = asyncio.ensure_future(service.run())
        client = await self.client()
        await client.wait_for("slow", timeout=SOON)
        call = asyncio.ensure_future(client.call("slow"))
        await asyncio.wait_for(begun.wait(), SOON)
        service.stop()
        await client.wait_for("slow", gone=True, timeout=SOON)
        go_on.set()
        self.assertEqual(await call, "done")
        await asyncio.wait_for(running, SOON)

    async def test_a_stop_that_comes_before_the_service_runs_ends_it(self) -> None:
        service = self.service()
        service.stop()
        await asyncio.wait_for(service.run(), SOON)
        self.assertEqual(await (await self.client()).names(), [])
        with self.assertRaisesRegex(ipcd.UsageError, "once"):
            await service.run()

    async def test_a_lock_whose_wait_is_cancelled_is_not_held(self) -> None:
        client, other, third = [await self.client() for _ in range(3)]
        async with await client.lock("backup"):
            waiting = asyncio.ensure_future(other.lock("backup"))
            await other.ping()
            waiting.cancel()
            with self.assertRaises(asyncio.CancelledError):
                await waiting
        async with await third.lock("backup", timeout=SOON) as lock:
            self.assertTrue(lock.is_held)

    async def test_large_bodies_in_a_crowd(self) -> None:
        service = ipcd.aio.Service("echo", address=self.broker.socket)
        service.raw(default=True)(lambda body: body)
        await self.serve(service)
        client = await self.client()
        bodies = await asyncio.gather(*(client.call("echo", bytes(100_000)) for _ in range(30)))
        self.assertEqual({len(body) for body in bodies}, {100_000})


class Streams(AioCase):
    async def test_items_go_both_ways(self) -> None:
        service = ipcd.aio.Service("store", address=self.broker.socket)

        @service.stream
        async def put(call: ipcd.aio.Call) -> int:
            return sum([len(item) async for item in call])

        @service.stream
        async def count(to: int) -> AsyncIterator[int]:
            for n in range(to):
                yield n

        @service.stream
        async def shout(call: ipcd.aio.Call) -> str:
            async for item in call:
                await call.send(item.upper())
            return "done"

        await self.serve(service)
        client = await self.client()
        async with await client.stream("store.put", send=True, receive=False) as call:
            for _ in range(200):
                await call.send(bytes(10_000))
            self.assertEqual(await call.end(), 2_000_000)
        async with await client.stream("store.count", 1000) as call:
            self.assertEqual([item async for item in call], list(range(1000)))
        async with await client.stream("store.shout", send=True) as call:

            async def send() -> None:
                for n in range(300):
                    await call.send(f"item {n}")
                await call.finish()

            sending = asyncio.ensure_future(send())
            self.assertEqual([item async for item in call], [f"ITEM {n}" for n in range(300)])
            await sending
            self.assertEqual(await call.end(), "done")
        async with await client.stream("store.shout", send=True) as call:
            with self.assertRaises(TimeoutError):
                await call.receive(0.01)
            await call.send("a")
            item = await call.receive(SOON)
            assert item is not None
            self.assertEqual(item.value(), "A")
        async with await client.stream("store.put", send=True) as call:
            await call.fail(ipcd.AppError("the disk is gone"))
            with self.assertRaisesRegex(ipcd.Internal, "the disk is gone"):
                await call.end()


class Datagrams(AioCase):
    async def test_calls_side_by_side_an_event_and_errors(self) -> None:
        self.addCleanup(calc(ipcd.Service("calc", address=self.broker.socket)).start().stop)
        async with ipcd.aio.Datagram(self.broker.socket) as sender:
            sums = await asyncio.gather(*(sender.call("calc.add", [n, n], timeout=SOON) for n in range(8)))
            self.assertEqual(sums, [2 * n for n in range(8)])
            with self.assertRaises(ipcd.NoService):
                await sender.call("clock", timeout=SOON)
            with self.assertRaises(ipcd.TooLarge):
                await sender.call("calc.add", bytes(65536))
            await sender.notify("calc.add", [1, 2])
            async with await (await self.client()).subscribe("home") as notices:
                await sender.announce("home", 1)
                event = await asyncio.wait_for(notices.next(), SOON)
                assert isinstance(event, ipcd.Event)
                self.assertEqual((event.value, event.sequence), (1, None))

    async def test_a_call_ends_with_its_time_its_task_or_the_sender(self) -> None:
        async with ipcd.aio.Datagram(self.broker.socket) as sender:
            with self.assertRaises(ipcd.DeadlineExceeded):
                await sender.call("ipc.wait", {"name": "late"}, timeout=0.01)
            waiting = asyncio.ensure_future(sender.call("ipc.wait", {"name": "late"}))
            await asyncio.sleep(0)
            waiting.cancel()
            with self.assertRaises(asyncio.CancelledError):
                await waiting
            pending = asyncio.ensure_future(sender.call("ipc.wait", {"name": "late"}))
            await asyncio.sleep(0)
        with self.assertRaisesRegex(ipcd.UsageError, "closed"):
            await pending
        with self.assertRaisesRegex(ipcd.UsageError, "closed"):
            await sender.notify("clock")

    async def test_the_next_broker_is_found_and_what_the_old_one_owed_is_lost(self) -> None:
        async with ipcd.aio.Datagram(self.broker.socket) as sender:
            pending = asyncio.ensure_future(sender.call("ipc.wait", {"name": "late"}))
            await asyncio.sleep(0)
            self.broker.restart()
            with self.assertRaises(ipcd.NoService):
                await sender.call("clock", timeout=SOON)
            with self.assertRaises(ipcd.Unavailable) as raised:
                await pending
            self.assertTrue(raised.exception.may_have_run)


class Events(AioCase):
    async def test_events_gaps_and_waits_that_are_cancelled(self) -> None:
        client, publisher = await self.client(), await self.client()
        async with await client.subscribe("log", queue=10) as notices:
            with self.assertRaises(asyncio.TimeoutError):
                await asyncio.wait_for(notices.next(), 0.01)
            for n in range(1000):
                await publisher.announce("log", n)
            await publisher.ping()
            await client.ping()
            seen = lost = 0
            while seen + lost < 1000:
                notice = await asyncio.wait_for(notices.next(), SOON)
                if isinstance(notice, ipcd.Gap):
                    lost += notice.lost
                else:
                    seen += 1
            assert isinstance(notice, ipcd.Event)
            self.assertEqual(notice.value, 999)
        self.assertEqual(await publisher.publish("log", 1), 0)

    async def test_a_wait_for_a_notice_can_have_an_end(self) -> None:
        client = await self.client()
        async with await client.subscribe("log") as notices:
            self.assertIsNone(await notices.next(0.01))
            self.assertIsNone(await notices.next(timeout=0))
            await client.announce("log", 1)
            await client.ping()
            self.assertIsInstance(await notices.next(timeout=0), ipcd.Event)
            await client.announce("log", 2)
            self.assertIsInstance(await notices.next(timeout=float("inf")), ipcd.Event)
            self.broker.kill()
            self.assertIsNone(await notices.next(0.01))
            self.broker.start()
            self.assertIsInstance(await notices.next(SOON), ipcd.Resumed)

    async def test_a_kept_event_is_cleared(self) -> None:
        client = await self.client()
        await client.publish("home", 1, retain=True)
        await client.clear("home")
        async with await client.subscribe("home", last=True) as notices:
            await client.publish("home", 2)
            event = await notices.next()
            assert isinstance(event, ipcd.Event)
            self.assertEqual(event.value, 2)


class Faults(AioCase):
    async def test_client_service_and_subscription_survive_the_broker(self) -> None:
        service = ipcd.aio.Service("calc", address=self.broker.socket)
        service.method("two")(lambda: 2)
        await self.serve(service)
        client = await self.client()
        notices = await client.subscribe("home")
        for _ in range(2):
            pending = asyncio.ensure_future(client.wait_for("nowhere"))
            await client.ping()
            self.broker.restart()
            with self.assertRaises(ipcd.BrokerLost):
                await pending
            await client.wait_for("calc", timeout=SOON)
            self.assertEqual(await client.call("calc.two"), 2)
            self.assertEqual(await asyncio.wait_for(notices.next(), SOON), ipcd.Resumed())

    async def test_without_a_broker_a_call_is_unavailable(self) -> None:
        client = await self.client()
        self.broker.kill()
        with self.assertRaises(ipcd.Error) as raised:
            await client.call("calc.two")
        with self.assertRaises(ipcd.Unavailable):
            await client.call("calc.two")
        self.broker.start()
        self.assertEqual(await client.names(), [])
        self.assertIsInstance(raised.exception, (ipcd.Unavailable, ipcd.BrokerLost))

    async def test_a_hostile_broker_ends_the_call(self) -> None:
        def conduct(connection: FalseConnection) -> None:
            connection.welcome()
            connection.expect(wire.CALL)
            connection.socket.sendall(b"\xc1\x01" + b"\xff" * 30)
            connection.until_closed()

        broker = FalseBroker(conduct)
        self.addCleanup(broker.stop)
        async with ipcd.aio.Client(broker.path) as client:
            with self.assertRaises(ipcd.ProtocolError):
                await client.call("calc.two", timeout=SOON)

    async def test_a_silent_broker_is_given_up_after_the_deadline(self) -> None:
        broker = FalseBroker(lambda connection: connection.until_closed())
        self.addCleanup(broker.stop)
        async with ipcd.aio.Client(broker.path) as client:
            with self.assertRaises(ipcd.DeadlineExceeded):
                await client.call("calc.two", timeout=0.05)

    async def test_a_service_that_dies_is_told_at_once(self) -> None:
        process = await asyncio.create_subprocess_exec(
            sys.executable,
            "-c",
            "import asyncio, os, ipcd.aio\n"
            "service = ipcd.aio.Service('mortal')\n"
            "service.method('die')(lambda: os._exit(1))\n"
            "asyncio.run(service.run())",
            env=self.broker.environment(),
        )
        client = await self.client()
        await client.wait_for("mortal", timeout=SOON)
        with self.assertRaises(ipcd.ServiceGone):
            await client.call("mortal.die")
        await process.wait()


if __name__ == "__main__":
    unittest.main()
