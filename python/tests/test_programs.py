"""Programs at both ends: the examples, the Rust library, the shell."""

from __future__ import annotations

import subprocess
import sys
import unittest

import ipcd
from support import PACKAGE, SOON, BrokerCase, program


def example(name: str) -> str:
    return str(PACKAGE / "examples" / name)


class Programs(BrokerCase):
    def python(self, name: str, *arguments: str, given: str = "") -> str:
        command = [sys.executable, example(name), *arguments]
        done = subprocess.run(
            command, env=self.broker.environment(), input=given, capture_output=True, text=True, timeout=60
        )
        self.assertEqual(done.returncode, 0, done.stderr)
        return done.stdout

    def start(self, name: str, *arguments: str) -> "subprocess.Popen[str]":
        return self.broker.launch(sys.executable, example(name), *arguments)

    def lines_of_code(self, name: str) -> int:
        with open(example(name)) as file:
            return sum(1 for line in file if line.strip())

    def test_five_lines_call_ten_lines(self) -> None:
        self.start("service.py")
        self.client().wait_for("calc", timeout=SOON)
        self.assertEqual(self.python("client.py"), "3\n")
        self.assertLessEqual(self.lines_of_code("client.py"), 5)
        self.assertLessEqual(self.lines_of_code("service.py"), 10)

    def test_the_shell_calls_a_service_in_python(self) -> None:
        self.start("calc_service.py")
        self.client().wait_for("calc", timeout=SOON)
        ipcctl = program("ipcctl")
        self.assertEqual(self.broker.run(ipcctl, "send", "calc.add", "a:=1", "b:=2").stdout, "3\n")
        self.assertEqual(self.broker.run(ipcctl, "send", "calc.add", "[1,2]").stdout, "3\n")
        failed = self.broker.run(ipcctl, "send", "--propagate", "calc.div", "a:=1", "b:=0", check=False)
        self.assertEqual(failed.returncode, 2)
        self.assertIn("division by zero", failed.stderr)
        shown = self.broker.run(ipcctl, "show", "calc").stdout
        self.assertIn("factorial", shown)

    def test_the_client_in_rust_calls_the_service_in_python(self) -> None:
        rust = program("examples/calc_client")
        self.start("calc_service.py")
        self.client().wait_for("calc", timeout=SOON)
        printed = self.broker.run(rust).stdout.splitlines()
        self.assertEqual(printed[:3], ["1 + 2 = 3", "1 / 0: the service says no", "64 sums, together 4032"])
        self.assertIn("OverflowError", printed[3])

    def test_the_client_in_python_calls_the_service_in_rust(self) -> None:
        self.broker.launch(program("examples/calc_service"))
        self.client().wait_for("calc", timeout=SOON)
        self.assertEqual(
            self.python("calc_client.py").splitlines(),
            [
                "1 + 2 = 3",
                "1 / 0: the service says DivisionByZero with code 2",
                "64 sums, together 4032",
                "100!: internal unknown",
            ],
        )
        with self.assertRaisesRegex(ipcd.Invalid, "unknown field `c`"):
            self.client().call("calc.add", {"a": 1, "b": 2, "c": 3})

    def test_both_clients_in_python_print_the_same_against_both_services(self) -> None:
        self.start("calc_service.py")
        self.client().wait_for("calc", timeout=SOON)
        self.assertEqual(
            self.python("calc_client.py").splitlines()[1:],
            ["1 / 0: the service says DivisionByZero with code 2", "64 sums, together 4032", "100!: internal unknown"],
        )

    def test_a_service_in_the_shell_answers_python(self) -> None:
        self.broker.launch(program("ipcctl"), "serve", "upper", "--", "tr", "a-z", "A-Z")
        client = self.client()
        client.wait_for("upper", timeout=SOON)
        self.assertEqual(client.call("upper", b"hello"), b"HELLO")

    def test_a_sensor_is_watched(self) -> None:
        self.python("sensor.py", "report", "kitchen", "20", "21.5")
        watching = self.start("sensor.py", "watch")
        assert watching.stdout is not None
        self.assertEqual(watching.stdout.readline(), "home.kitchen.temperature 21.5\n")
        self.python("sensor.py", "report", "hall", "18")
        self.assertEqual(watching.stdout.readline(), "home.hall.temperature 18.0\n")

    def test_lines_are_shouted(self) -> None:
        self.start("shout.py", "serve")
        self.client().wait_for("shout", timeout=SOON)
        self.assertEqual(self.python("shout.py", given="one\ntwo\n"), "ONE\nTWO\n2 lines\n")

    def test_a_service_that_is_told_to_end_answers_first(self) -> None:
        service = self.start("calc_service.py")
        client = self.client()
        client.wait_for("calc", timeout=SOON)
        service.terminate()
        self.assertEqual(service.wait(SOON), 0)
        self.assertEqual(client.names(), [])


if __name__ == "__main__":
    unittest.main()
