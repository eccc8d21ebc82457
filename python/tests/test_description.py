"""What a service says of itself, as `ipcctl` reads it."""

from __future__ import annotations

import asyncio
import dataclasses
import json
import unittest
from typing import Any, AsyncIterator, Dict, Iterator, List, Optional, Tuple, TypedDict, Union

import ipcd
import ipcd.aio
from ipcd import description
from ipcd.methods import Method
from support import AioCase, BrokerCase, program


@dataclasses.dataclass
class Place:
    street: str
    number: int = 1
    behind: Optional[Place] = None


class Guest(TypedDict):
    name: str
    ages: List[int]


class Descriptions(BrokerCase):
    def described(self) -> ipcd.Service:
        service = self.service("pcalc", about="Sums in Python.")

        @service.method
        def add(a: int, b: int = 2) -> int:
            """Adds two numbers."""
            return a + b

        @service.method
        def book(guest: Guest, place: Place, call: ipcd.Call, note: Optional[str] = None) -> Dict[str, float]:
            return {}

        @service.stream
        def count(to: int) -> Iterator[int]:
            yield from range(to)

        @service.method
        def loose(*values: int) -> int:
            return len(values)

        @service.raw(default=True)
        def upper(body: bytes) -> bytes:
            return body.upper()

        return self.serve(service)

    def ipcctl(self, *arguments: str) -> str:
        finished = self.broker.run(program("ipcctl"), *arguments, check=False)
        return finished.stdout + finished.stderr

    def test_show_prints_what_the_annotations_and_docstrings_say(self) -> None:
        self.described()
        shown = self.ipcctl("show", "pcalc")
        for line in (
            "Sums in Python.",
            "pcalc.add(a: i64, b: i64?) -> i64\n    Adds two numbers.",
            "pcalc.book(guest: Guest, place: Place, note: string?) -> {string: f64}",
            "Guest = name: string, ages: [i64]",
            "Place = street: string, number: i64?, behind: Place?",
            "pcalc.count(to: i64) -> items i64",
            "pcalc.loose(any) -> i64",
        ):
            self.assertIn(line, shown)

    def test_send_refuses_a_field_that_no_parameter_has(self) -> None:
        self.described()
        self.assertIn("no field `c`; there are a, b", self.ipcctl("send", "pcalc.add", "a:=1", "c:=2"))
        self.assertEqual(self.ipcctl("send", "pcalc.add", "a:=1").strip(), "3")
        self.assertEqual(self.ipcctl("send", "pcalc", "hi").strip(), "HI")

    def test_agents_are_told_the_arguments(self) -> None:
        self.described()
        schemas = json.loads(self.ipcctl("show", "pcalc.add", "-o", "json"))["described"]["add"]
        self.assertEqual(schemas["about"], "Adds two numbers.")
        self.assertEqual(schemas["request"]["required"], ["a"])
        self.assertEqual(schemas["request"]["properties"]["a"], {"type": "integer"})

    def test_a_service_with_nothing_to_say_leaves_the_method_to_the_one_for_any(self) -> None:
        service = self.service("bridge")
        service.any(lambda body: b"any")
        self.serve(service)
        self.assertEqual(self.client().call("@1", method="upper"), b"any")


class Asyncio(AioCase):
    async def test_a_service_with_asyncio_describes_itself_too(self) -> None:
        service = ipcd.aio.Service("clock", address=self.broker.socket)

        @service.method
        async def wait(seconds: float) -> str:
            return "done"

        @service.stream
        async def tick() -> AsyncIterator[float]:
            yield 1.0

        await self.serve(service)
        shown = (await asyncio.to_thread(self.broker.run, program("ipcctl"), "show", "clock")).stdout
        self.assertIn("clock.wait(seconds: f64) -> string", shown)
        self.assertIn("clock.tick() -> items f64", shown)


class Shapes(unittest.TestCase):
    def test_types_that_are_known_have_a_shape_and_others_are_any(self) -> None:
        known: List[Tuple[Any, Any]] = [
            (bool, "bool"),
            (None, "unit"),
            (list, {"list": "any"}),
            (Dict[str, List[int]], {"map": ["str", {"list": "i64"}]}),
            (Tuple[int, str], {"tuple": ["i64", "str"]}),
            (Tuple[int, ...], {"list": "i64"}),
            (Optional[float], {"option": "f64"}),
            (Union[int, str], "any"),
            (Union[int, str, None], "any"),
            (bytes, "any"),
            (Any, "any"),
            ("Missing", "any"),
            ([], "any"),
        ]
        for hint, shape in known:
            with self.subTest(hint=hint):
                self.assertEqual(description._Types().shape(hint), shape)

    def test_structures_of_one_name_are_told_apart(self) -> None:
        one = dataclasses.make_dataclass("Request", [("a", int)])
        other = dataclasses.make_dataclass("Request", [("b", str)])

        def method(x: Any, y: Any) -> None: ...

        method.__annotations__.update(x=one, y=other)
        request = description.of("", {"m": Method("m", method, False, False)})["methods"]["m"]["request"]
        self.assertEqual(sorted(request["types"]), ["Request", "Request_", "Request__"])

    def test_the_fingerprint_is_that_of_the_protocol(self) -> None:
        self.assertEqual(description.fingerprint(b""), "cbf29ce484222325")
        self.assertEqual(description.fingerprint(b"a"), "af63dc4c8601ec8c")
