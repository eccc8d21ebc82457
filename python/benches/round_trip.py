"""What a call costs between two processes in Python: ipcd beside D-Bus and Redis with their usual packages, in one run.

    python3 -m venv /tmp/bench && /tmp/bench/bin/pip install jeepney dbus-fast redis
    PYTHONPATH=python/src taskset -c 0 /tmp/bench/bin/python python/benches/round_trip.py target/release

Contenders whose package or daemon is missing are left out. Each service echoes a text of 64 bytes. Rounds of the contenders take turns;
the figures are medians of the rounds.
"""

from __future__ import annotations

import asyncio
import os
import pathlib
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from typing import Awaitable, Callable, Dict, List, Tuple

TEXT = "x" * 64
ROUNDS = 5
CALLS = 2000
WINDOW = 64
NAME = "org.example.Echo"
PATH = "/echo"

Figures = Tuple[float, float]


def measure(call: Callable[[], object], many: "Callable[[int], object] | None") -> Figures:
    """Median of a lone round trip in us, and calls a second with 64 under way (0 where there is no such thing)."""
    times = []
    for _ in range(CALLS):
        began = time.perf_counter()
        call()
        times.append(time.perf_counter() - began)
    if many is None:
        return statistics.median(times) * 1e6, 0.0
    began = time.perf_counter()
    for _ in range(CALLS // WINDOW):
        many(WINDOW)
    return statistics.median(times) * 1e6, CALLS // WINDOW * WINDOW / (time.perf_counter() - began)


async def measure_async(call: Callable[[], Awaitable[object]]) -> Figures:
    times = []
    for _ in range(CALLS):
        began = time.perf_counter()
        await call()
        times.append(time.perf_counter() - began)
    began = time.perf_counter()
    for _ in range(CALLS // WINDOW):
        await asyncio.gather(*(call() for _ in range(WINDOW)))
    return statistics.median(times) * 1e6, CALLS // WINDOW * WINDOW / (time.perf_counter() - began)


# ---- ipcd


def serve_ipcd() -> None:
    import ipcd

    service = ipcd.Service("echo", window=WINDOW)
    service.raw(default=True)(lambda body: body)
    service.run()


def call_ipcd() -> Figures:
    import ipcd

    with ipcd.Client() as client:
        client.wait_for("echo", timeout=10)
        text = TEXT.encode()

        def many(count: int) -> None:
            for ticket in [client.start("echo", text) for _ in range(count)]:
                ticket.wait()

        return measure(lambda: client.call("echo", text), many)


def serve_ipcd_aio() -> None:
    import ipcd.aio

    service = ipcd.aio.Service("echo-aio")

    @service.raw(default=True)
    async def echo(body: bytes) -> bytes:
        return body

    asyncio.run(service.run())


def call_ipcd_aio() -> Figures:
    import ipcd.aio

    async def run() -> Figures:
        async with ipcd.aio.Client() as client:
            await client.wait_for("echo-aio", timeout=10)
            return await measure_async(lambda: client.call("echo-aio", TEXT.encode()))

    return asyncio.run(run())


# ---- D-Bus


def serve_jeepney() -> None:
    import jeepney
    from jeepney.io.blocking import open_dbus_connection

    connection = open_dbus_connection(bus=os.environ["DBUS_SESSION_BUS_ADDRESS"])
    connection.send_and_get_reply(jeepney.bus_messages.message_bus.RequestName(NAME))
    while True:
        message = connection.receive()
        if message.header.message_type == jeepney.MessageType.method_call:
            connection.send(jeepney.new_method_return(message, "s", message.body))


def call_jeepney() -> Figures:
    import jeepney
    from jeepney.io.blocking import open_dbus_connection

    connection = open_dbus_connection(bus=os.environ["DBUS_SESSION_BUS_ADDRESS"])
    echo = jeepney.DBusAddress(PATH, bus_name=NAME, interface=NAME)

    def call() -> object:
        return connection.send_and_get_reply(jeepney.new_method_call(echo, "Echo", "s", (TEXT,)))

    until = time.monotonic() + 10
    while call().header.message_type == jeepney.MessageType.error and time.monotonic() < until:  # type: ignore[attr-defined]
        time.sleep(0.05)
    return measure(call, None)


def serve_dbus_fast() -> None:
    from dbus_fast.aio import MessageBus
    from dbus_fast.constants import MessageType
    from dbus_fast.message import Message

    async def run() -> None:
        bus = await MessageBus(os.environ["DBUS_SESSION_BUS_ADDRESS"]).connect()

        def answer(message: Message) -> "Message | None":
            if message.message_type is MessageType.METHOD_CALL and message.member == "Echo":
                return Message.new_method_return(message, "s", message.body)
            return None

        bus.add_message_handler(answer)
        await bus.request_name(NAME + "Fast")
        await bus.wait_for_disconnect()

    asyncio.run(run())


def call_dbus_fast() -> Figures:
    from dbus_fast.aio import MessageBus
    from dbus_fast.constants import MessageType
    from dbus_fast.message import Message

    async def run() -> Figures:
        bus = await MessageBus(os.environ["DBUS_SESSION_BUS_ADDRESS"]).connect()

        async def call() -> object:
            message = Message(
                destination=NAME + "Fast", path=PATH, interface=NAME, member="Echo", signature="s", body=[TEXT]
            )
            return await bus.call(message)

        until = time.monotonic() + 10
        while (await call()).message_type is MessageType.ERROR and time.monotonic() < until:  # type: ignore[attr-defined]
            await asyncio.sleep(0.05)
        return await measure_async(call)

    return asyncio.run(run())


# ---- Redis: two lists


def serve_redis() -> None:
    import redis

    client = redis.Redis(unix_socket_path=os.environ["REDIS_SOCKET"])
    while True:
        _, text = client.blpop(["request"])
        client.rpush("reply", text)


def call_redis() -> Figures:
    import redis

    client = redis.Redis(unix_socket_path=os.environ["REDIS_SOCKET"])

    def call() -> None:
        client.rpush("request", TEXT)
        client.blpop(["reply"])

    def many(count: int) -> None:
        pipeline = client.pipeline(transaction=False)
        for _ in range(count):
            pipeline.rpush("request", TEXT)
        pipeline.execute()
        for _ in range(count):
            client.blpop(["reply"])

    return measure(call, many)


CONTENDERS: Dict[str, Tuple[Callable[[], None], Callable[[], Figures]]] = {
    "ipcd, blocking": (serve_ipcd, call_ipcd),
    "ipcd.aio": (serve_ipcd_aio, call_ipcd_aio),
    "jeepney, dbus-daemon": (serve_jeepney, call_jeepney),
    "dbus-fast, dbus-daemon": (serve_dbus_fast, call_dbus_fast),
    "redis-py, two lists": (serve_redis, call_redis),
}
NEEDS = {"jeepney": "dbus-daemon", "dbus-fast": "dbus-daemon", "redis-py": "redis-server"}


def start(*command: str) -> "subprocess.Popen[bytes]":
    return subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)


def brokers(programs: pathlib.Path, directory: str) -> "List[subprocess.Popen[bytes]]":
    os.environ["IPCD_SOCKET"] = f"{directory}/ipcd.sock"
    os.environ["DBUS_SESSION_BUS_ADDRESS"] = f"unix:path={directory}/bus"
    os.environ["REDIS_SOCKET"] = f"{directory}/redis"
    started = [start(str(programs / "ipcd"), "--socket", os.environ["IPCD_SOCKET"])]
    waited = [os.environ["IPCD_SOCKET"]]
    if shutil.which("dbus-daemon"):
        address = os.environ["DBUS_SESSION_BUS_ADDRESS"]
        started.append(start("dbus-daemon", "--session", "--nofork", f"--address={address}"))
        waited.append(f"{directory}/bus")
    if shutil.which("redis-server"):
        started.append(start("redis-server", "--port", "0", "--unixsocket", os.environ["REDIS_SOCKET"], "--save", ""))
        waited.append(os.environ["REDIS_SOCKET"])
    until = time.monotonic() + 10
    while not all(map(os.path.exists, waited)) and time.monotonic() < until:
        time.sleep(0.05)
    return started


def figures_of(name: str) -> "Figures | None":
    command = [sys.executable, __file__, "--call", name]
    printed = subprocess.run(command, capture_output=True, text=True, timeout=300)
    if printed.returncode != 0:
        print(f"{name}: left out: {printed.stderr.strip().splitlines()[-1]}", file=sys.stderr)
        return None
    lone, many = printed.stdout.split()
    return float(lone), float(many)


def run(programs: pathlib.Path) -> None:
    with tempfile.TemporaryDirectory(prefix="ipcd-bench-") as directory:
        processes = brokers(programs, directory)
        there = [name for name in CONTENDERS if shutil.which(NEEDS.get(name.split(",")[0], "sh"))]
        found: Dict[str, List[Figures]] = {name: [] for name in there}
        try:
            processes += [start(sys.executable, __file__, "--serve", name) for name in there]
            for _ in range(ROUNDS):
                for name in list(found):
                    figures = figures_of(name)
                    if figures is None:
                        del found[name]
                    else:
                        found[name].append(figures)
        finally:
            for process in processes:
                process.kill()
                process.wait()
    print_table(found)


def print_table(found: Dict[str, List[Figures]]) -> None:
    base = statistics.median(lone for lone, _ in found["ipcd, blocking"])
    print("| | 64 B round trip, p50 us | calls/s, 64 outstanding |\n|--|--:|--:|")
    for name, rounds in found.items():
        lone = statistics.median(one for one, _ in rounds)
        many = statistics.median(one for _, one in rounds)
        print(f"| {name} | {lone:.0f} ({lone / base:.2f}) | {f'{many:,.0f}' if many else '–'} |")


if sys.argv[1] == "--serve":
    CONTENDERS[sys.argv[2]][0]()
elif sys.argv[1] == "--call":
    print(*CONTENDERS[sys.argv[2]][1]())
else:
    run(pathlib.Path(sys.argv[1]))
