"""An agent built with the protocol's Python package: `agent.py legacy` or `agent.py VERSION`."""

import os
import sys

import anyio
from mcp.client.client import Client
from mcp.client.stdio import StdioServerParameters, stdio_client


async def main(mode):
    server = StdioServerParameters(command="ipcctl", args=["mcp", "upper", "tick", "calc"], env=dict(os.environ))
    async with Client(stdio_client(server), mode=mode) as client:
        tools = [tool.name for tool in (await client.list_tools()).tools]
        assert tools == ["calc_add", "calc_div", "calc_factorial", "tick", "upper"], tools
        upper = await client.call_tool("upper", {"input": "hello"})
        assert upper.content[0].text == "HELLO", upper
        total = await client.call_tool("calc_add", {"a": 1, "b": 2})
        assert total.structured_content == {"result": 3}, total
        failed = await client.call_tool("calc_div", {"a": 1, "b": 0})
        assert failed.is_error, failed
        told = []

        async def progress(done, total, message):
            told.append(message)

        last = await client.call_tool("tick", {"input": ""}, progress_callback=progress)
        assert last.content[0].text == "two" and told[0] == "one", (last, told)
    print("ok")


anyio.run(main, sys.argv[1])
