"""Streams with asyncio: `shout.py serve` answers each item in upper case, `shout.py` sends the lines of its input."""

import asyncio
import sys

import ipcd.aio

service = ipcd.aio.Service("shout")


@service.stream(default=True)
async def shout(call: ipcd.aio.Call) -> int:
    lines = 0
    async for line in call:
        await call.send(line.upper())
        lines += 1
    return lines


async def send(lines: "list[str]") -> None:
    async with ipcd.aio.Client() as client, await client.stream("shout", send=True) as call:
        for line in lines:
            await call.send(line)
            item = await call.receive()
            assert item is not None
            print(item.value())
        print(await call.end(), "lines")


if sys.argv[1:] == ["serve"]:
    asyncio.run(service.run())
else:
    asyncio.run(send(sys.stdin.read().splitlines()))
