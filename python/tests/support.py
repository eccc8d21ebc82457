"""What the tests share: a real broker, a false one, and programs."""

from __future__ import annotations

import asyncio
import logging
import os
import pathlib
import shutil
import signal
import socket
import struct
import subprocess
import sys
import tempfile
import threading
import time
import unittest
from typing import Any, Awaitable, Callable, List, Optional

import ipcd
from ipcd import frame as wire
from ipcd.frame import Decoder, Frame

PACKAGE = pathlib.Path(__file__).resolve().parent.parent
ROOT = PACKAGE.parent
# What services log when their broker goes, and a loop on a busy machine, is no news here.
logging.getLogger("ipcd").setLevel(logging.CRITICAL)
logging.getLogger("asyncio").setLevel(logging.ERROR)
#: How long something may take that takes no time, in seconds: the machine may be busy.
SOON = 20.0


def directory_of_programs() -> Optional[pathlib.Path]:
    """Where `ipcd` and `ipcctl` are: in $IPCD_BIN, else in target/debug or target/release, whichever is newer."""
    chosen = os.environ.get("IPCD_BIN")
    if chosen:
        return pathlib.Path(chosen)
    built = [ROOT / "target" / profile / "ipcd" for profile in ("debug", "release")]
    found = sorted((path for path in built if path.exists()), key=lambda path: path.stat().st_mtime)
    return found[-1].parent if found else None


def program(name: str) -> str:
    """The path of a program. The test is skipped where it isn't built."""
    directory = directory_of_programs()
    path = None if directory is None else directory / name
    if path is None or not path.exists():
        raise unittest.SkipTest(f"{name} is not built: cargo build --workspace --examples, or set IPCD_BIN to its directory")
    return str(path)


def environment(**more: str) -> "dict[str, str]":
    """The environment of a program that uses the package."""
    known = {key: value for key, value in os.environ.items() if not key.startswith("IPCD_")}
    return {**known, "PYTHONPATH": str(PACKAGE / "src"), **more}


class Broker:
    """A real broker in a directory of its own."""

    def __init__(self, config: str = "") -> None:
        self._ipcd = program("ipcd")
        self.directory = tempfile.mkdtemp(prefix="ipcd-py-")
        self.socket = os.path.join(self.directory, "ipcd.sock")
        self._config = os.path.join(self.directory, "ipcd.toml")
        pathlib.Path(self._config).write_text(config)
        self._programs: List["subprocess.Popen[str]"] = []
        self.start()

    def start(self) -> None:
        command = [self._ipcd, "--socket", self.socket, "--config", self._config]
        self._process = subprocess.Popen(command, stdout=subprocess.PIPE, env=environment(), text=True)
        assert self._process.stdout is not None
        if not self._process.stdout.readline():
            raise AssertionError("the broker doesn't start")

    def kill(self) -> None:
        self._process.kill()
        self._process.wait()
        assert self._process.stdout is not None
        self._process.stdout.close()

    def restart(self) -> None:
        self.kill()
        self.start()

    def pause(self) -> None:
        self._process.send_signal(signal.SIGSTOP)

    def go_on(self) -> None:
        self._process.send_signal(signal.SIGCONT)

    def environment(self, **more: str) -> "dict[str, str]":
        return environment(IPCD_SOCKET=self.socket, **more)

    def run(self, *command: str, check: bool = True) -> "subprocess.CompletedProcess[str]":
        """Runs a program to its end."""
        return subprocess.run(
            command, env=self.environment(), capture_output=True, text=True, timeout=60, check=check
        )

    def launch(self, *command: str) -> "subprocess.Popen[str]":
        """Starts a program, which ends with the broker."""
        started = subprocess.Popen(
            command, env=self.environment(), stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
        )
        self._programs.append(started)
        return started

    def python(self, code: str) -> "subprocess.Popen[str]":
        """Starts a program in Python."""
        return self.launch(sys.executable, "-c", code)

    def stop(self) -> None:
        for one in self._programs:
            one.kill()
            one.wait()
            if one.stdout is not None:
                one.stdout.close()
        self._process.send_signal(signal.SIGCONT)
        self.kill()
        shutil.rmtree(self.directory, ignore_errors=True)


class BrokerCase(unittest.TestCase):
    """A test with a broker of its own."""

    config = ""

    def setUp(self) -> None:
        self.broker = Broker(self.config)
        self.addCleanup(self.broker.stop)

    def client(self) -> ipcd.Client:
        client = ipcd.Client(self.broker.socket)
        self.addCleanup(client.close)
        return client

    def service(self, name: Optional[str], **settings: Any) -> ipcd.Service:
        return ipcd.Service(name, address=self.broker.socket, **settings)

    def serve(self, service: ipcd.Service) -> ipcd.Service:
        """Serves until the end of the test."""
        self.addCleanup(service.start().stop)
        return service

    def calc(self, **settings: Any) -> ipcd.Service:
        return self.serve(calc(self.service("calc", **settings)))


class AioCase(unittest.IsolatedAsyncioTestCase):
    """As `BrokerCase`, with an event loop."""

    def setUp(self) -> None:
        self.broker = Broker()
        self.addCleanup(self.broker.stop)

    async def client(self) -> ipcd.aio.Client:
        client = await ipcd.aio.Client.connect(self.broker.socket)
        self.addAsyncCleanup(client.close)
        return client

    async def serve(self, service: ipcd.aio.Service) -> ipcd.aio.Service:
        await service.__aenter__()
        self.addAsyncCleanup(service.__aexit__)
        return service


def calc(service: ipcd.Service) -> ipcd.Service:
    """The methods of the Rust example."""

    @service.method
    def add(a: int, b: int) -> int:
        return a + b

    @service.method
    def div(a: int, b: int) -> int:
        if b == 0:
            raise ipcd.AppError("division by zero", app_code=2, value="DivisionByZero")
        return a // b

    @service.method
    def factorial(of: int) -> int:
        if of > 20:
            raise ValueError("a factorial fits 64 bits")
        return 1 if of == 0 else of * factorial(of - 1)

    return service


class FalseBroker:
    """A socket that answers a connection as the test says: a thread for each."""

    def __init__(self, conduct: Callable[[FalseConnection], None]) -> None:
        self.directory = tempfile.mkdtemp(prefix="ipcd-py-")
        self.path = os.path.join(self.directory, "ipcd.sock")
        self._conduct = conduct
        self._socket = socket.socket(socket.AF_UNIX)
        self._socket.bind(self.path)
        self._socket.listen()
        self._open: List[socket.socket] = []
        threading.Thread(target=self._accept, daemon=True).start()

    def stop(self) -> None:
        self._socket.shutdown(socket.SHUT_RDWR)
        self._socket.close()
        for sock in self._open:
            sock.close()
        shutil.rmtree(self.directory, ignore_errors=True)

    def _accept(self) -> None:
        while True:
            try:
                sock, _ = self._socket.accept()
            except OSError:
                return
            self._open.append(sock)
            threading.Thread(target=self._serve, args=(sock,), daemon=True).start()

    def _serve(self, sock: socket.socket) -> None:
        try:
            self._conduct(FalseConnection(sock))
        except OSError:
            pass


class FalseConnection:
    """A connection as a broker has it."""

    def __init__(self, sock: socket.socket) -> None:
        self.socket = sock
        self._decoder = Decoder()
        self._frames: List[Frame] = []

    def frame(self) -> Frame:
        """The next frame of the client."""
        while not self._frames:
            data = self.socket.recv(65536)
            if not data:
                raise OSError("the client has closed")
            self._frames += self._decoder.feed(data)
        return self._frames.pop(0)

    def expect(self, kind: int) -> Frame:
        while True:
            frame = self.frame()
            if frame.kind == kind:
                return frame

    def send(self, frame: Frame) -> None:
        self.socket.sendall(frame.encode())

    def welcome(self) -> None:
        self.expect(wire.HELLO)
        self.send(welcome())

    def until_closed(self) -> None:
        while self.socket.recv(65536):
            pass


def welcome() -> Frame:
    fields = {
        wire.VERSIONS: b"\1\1",
        wire.AGENT: b"false",
        wire.PEER: wire.u64(7),
        wire.MAX_BODY_TAG: struct.pack("<I", wire.MAX_BODY),
    }
    return Frame(wire.WELCOME, fields=fields)


def eventually(is_so: Callable[[], bool], what: str) -> None:
    """The one place that polls."""
    until = time.monotonic() + SOON
    while not is_so():
        if time.monotonic() >= until:
            raise AssertionError(f"not within {SOON} s: {what}")
        time.sleep(0.01)


async def eventually_async(is_so: Callable[[], Awaitable[bool]], what: str) -> None:
    until = time.monotonic() + SOON
    while not await is_so():
        if time.monotonic() >= until:
            raise AssertionError(f"not within {SOON} s: {what}")
        await asyncio.sleep(0.01)
