"""What a process has from the one that started it: a descriptor that is a connection, and after a fork whatever that one had."""

from __future__ import annotations

import asyncio
import os
import socket
import subprocess
import sys
import tempfile
import unittest

import ipcd
import ipcd.aio
from support import SOON, AioCase, BrokerCase, environment, program

BLOCKING = """
import ipcd, os
client = ipcd.Client()
print(os.environ["IPCD_SOCKET"][:3], client.peer > 0, client.names())
client.close()
try:
    client.names()
except ipcd.BrokerLost as error:
    print(error.retry)
"""
AIO = """
import asyncio, ipcd.aio
async def main():
    async with ipcd.aio.Client() as client:
        print(await client.names())
        try:
            await client.call("clock")
        except ipcd.NoService as error:
            print(error.name)
asyncio.run(main())
"""
SERVICE = """
import ipcd
service = ipcd.Service("echo")
@service.raw(default=True)
def echo(body: bytes, call: ipcd.Call) -> bytes:
    service.stop()
    return body
with service.start():
    try:
        ipcd.Datagram()
    except ipcd.UsageError as error:
        print(error.text)
    service.client.notify("echo", b"hello")
"""


class Descriptors(unittest.TestCase):
    def run_with_descriptor(self, code: str) -> str:
        """What a program prints that `ipcctl run --fd` has started."""
        command = [program("ipcctl"), "run", "--fd", "--", sys.executable, "-W", "error", "-c", code]
        done = subprocess.run(command, env=environment(), capture_output=True, text=True, timeout=60)
        self.assertEqual((done.returncode, done.stderr), (0, ""))
        return done.stdout

    def test_a_blocking_client_uses_its_only_connection(self) -> None:
        self.assertEqual(self.run_with_descriptor(BLOCKING), "fd: True []\nsafe\n")

    def test_a_client_with_asyncio_does_so_too(self) -> None:
        self.assertEqual(self.run_with_descriptor(AIO), "[]\nno_service\n")

    def test_a_service_registers_on_it_and_has_no_datagrams_beside_it(self) -> None:
        printed = self.run_with_descriptor(SERVICE)
        self.assertEqual(printed, "an inherited descriptor has no datagram socket beside it\n")

    def test_a_descriptor_that_is_no_connection_is_refused_and_stays_open(self) -> None:
        listener = socket.socket(socket.AF_UNIX)
        listener.bind("")
        listener.listen()
        datagram, other = socket.socketpair(socket.AF_UNIX, socket.SOCK_DGRAM)
        foreign = socket.socket(socket.AF_INET)
        file = tempfile.TemporaryFile()
        for one, why in (
            (listener, "isn't a connected stream socket"),
            (datagram, "isn't a connected stream socket"),
            (foreign, "isn't an AF_UNIX socket"),
            (file, "isn't an AF_UNIX socket"),
        ):
            with self.subTest(why=why), one:
                with self.assertRaisesRegex(ipcd.UsageError, why):
                    ipcd.Client(f"fd:{one.fileno()}")
                os.fstat(one.fileno())
        other.close()

    def test_a_second_client_on_the_same_connection_is_refused_while_there_is_the_first(self) -> None:
        ours, theirs = socket.socketpair()
        with ours, theirs:
            address = f"fd:{theirs.fileno()}"
            with ipcd.Client(address):
                with self.assertRaisesRegex(ipcd.UsageError, "in use"):
                    ipcd.Client(address)
            ours.settimeout(SOON)
            ours.recv(4096)
            self.assertEqual(ours.recv(1), b"", "the end of the client is that of the connection, whose original stays open")
            with ipcd.Client(address):
                pass

    def test_a_number_that_means_nothing_is_named(self) -> None:
        for text, why in (
            ("fd:9999", "isn't open"),
            ("fd:99999999999999", "isn't open"),
            ("fd:2", "standard stream"),
            ("fd:", "names no descriptor"),
        ):
            with self.subTest(text), self.assertRaisesRegex(ipcd.UsageError, why):
                ipcd.Client(text)


class Forks(BrokerCase):
    def in_child(self, code: "object") -> int:
        """The exit code of a child that runs a function."""
        child = os.fork()
        if child == 0:
            try:
                os._exit(0 if code() else 1)  # type: ignore[operator]
            except BaseException as error:
                os.write(2, f"{error!r}\n".encode())
                os._exit(2)
        return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])

    def test_the_child_makes_a_connection_of_its_own(self) -> None:
        self.calc()
        client = self.client()
        peer = client.peer
        self.assertEqual(self.in_child(lambda: client.call("calc.add", [1, 2]) == 3 and client.peer != peer), 0)
        self.assertEqual((client.call("calc.add", [1, 2]), client.peer), (3, peer))

    def test_a_call_of_the_parent_is_not_the_child_s(self) -> None:
        client = self.client()
        ticket = client.start("ipc.wait", {"name": "late"})

        def is_lost() -> bool:
            try:
                return bool(ticket.wait())
            except ipcd.BrokerLost as error:
                return error.may_have_run and "forked" in error.text

        self.assertEqual(self.in_child(is_lost), 0)
        self.serve(self.service("late"))
        self.assertEqual(ticket.wait(), {})

    def test_a_service_of_the_parent_answers_there_alone(self) -> None:
        self.calc()
        self.assertEqual(self.in_child(lambda: True), 0)
        self.assertEqual(self.client().call("calc.add", [1, 2]), 3)

    def test_a_sender_of_datagrams_gets_an_address_of_its_own(self) -> None:
        self.calc()
        with ipcd.Datagram(self.broker.socket) as sender:
            self.assertEqual(sender.call("calc.add", [1, 2], timeout=SOON), 3)
            self.assertEqual(self.in_child(lambda: sender.call("calc.add", [1, 2], timeout=SOON) == 3), 0)
            self.assertEqual(sender.call("calc.add", [1, 2], timeout=SOON), 3)


class Leftovers(AioCase):
    def test_a_client_that_was_not_closed_is_warned_of_and_closed(self) -> None:
        peer = ipcd.Client(self.broker.socket).call
        with self.assertWarnsRegex(ResourceWarning, "was not closed"):
            del peer

    async def test_with_asyncio_the_loop_warns(self) -> None:
        code = f"import asyncio, ipcd.aio\nasyncio.run(ipcd.aio.Client.connect({self.broker.socket!r}))"
        command = [sys.executable, "-W", "default", "-c", code]
        made = await asyncio.create_subprocess_exec(*command, env=environment(), stderr=subprocess.PIPE)
        _, said = await made.communicate()
        self.assertIn(b"ResourceWarning", said)


if __name__ == "__main__":
    unittest.main()
