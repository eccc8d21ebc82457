"""The package as its users get it: a wheel in a fresh virtual environment, and types that hold."""

from __future__ import annotations

import ast
import importlib.util
import operator
import pathlib
import re
import shutil
import subprocess
import sys
import tempfile
import unittest

import ipcd
import ipcd.aio
from support import PACKAGE, ROOT, SOON, BrokerCase, environment


def interpreters() -> "list[str]":
    """This one, and the one of the virtual environment that .ci/run makes for tools."""
    tools = ROOT / "target" / "python" / "bin" / "python"
    return [sys.executable, *([str(tools)] if tools.exists() else [])]


def with_modules(*names: str) -> str:
    """An interpreter that has these modules. The test is skipped where none does."""
    for interpreter in interpreters():
        look = f"import importlib.util as u, sys; sys.exit(not all(map(u.find_spec, {names!r})))"
        if subprocess.run([interpreter, "-c", look]).returncode == 0:
            return interpreter
    raise unittest.SkipTest(f"no interpreter has {' and '.join(names)}: .ci/run python installs them")


class Wheel(BrokerCase):
    def test_it_is_built_and_installed_without_network_and_calls(self) -> None:
        builder = with_modules("pip", "setuptools", "wheel", "venv")
        directory = pathlib.Path(tempfile.mkdtemp(prefix="ipcd-py-"))
        self.addCleanup(shutil.rmtree, directory, ignore_errors=True)
        source = directory / "source"
        shutil.copytree(PACKAGE, source, ignore=shutil.ignore_patterns("build", "*.egg-info", "__pycache__"))
        build = [builder, "-m", "pip", "wheel", "--quiet", "--no-index", "--no-build-isolation", "--no-deps"]
        self.run_quietly(*build, "--wheel-dir", str(directory), str(source))
        (wheel,) = directory.glob("ipcd-*.whl")
        self.assertEqual(wheel.name.split("-", 2)[2], "py3-none-any.whl")
        home = directory / "home"
        self.run_quietly(builder, "-m", "venv", "--without-pip", str(home))
        python = str(home / "bin" / "python")
        installer = [builder, "-m", "pip", "--python", python, "install", "--quiet", "--no-index"]
        self.run_quietly(*installer, str(wheel))
        listed = self.run_quietly(python, "-c", "import ipcd; print(ipcd.__file__)")
        self.assertTrue(listed.startswith(str(home)), listed)
        self.assertTrue(any(home.rglob("ipcd/py.typed")))
        self.call(python)

    def call(self, python: str) -> None:
        known = {key: value for key, value in self.broker.environment().items() if key != "PYTHONPATH"}
        service = subprocess.Popen([python, str(PACKAGE / "examples" / "service.py")], env=known)
        self.addCleanup(service.wait)
        self.addCleanup(service.kill)
        self.client().wait_for("calc", timeout=SOON)
        command = [python, str(PACKAGE / "examples" / "client.py")]
        self.assertEqual(subprocess.check_output(command, env=known, text=True, timeout=SOON), "3\n")

    def run_quietly(self, *command: str) -> str:
        known = {key: value for key, value in environment().items() if key != "PYTHONPATH"}
        done = subprocess.run(command, env=known, capture_output=True, text=True, timeout=120)
        self.assertEqual(done.returncode, 0, done.stdout + done.stderr)
        return done.stdout


class Types(unittest.TestCase):
    def test_they_hold_in_strict_mode(self) -> None:
        checker = with_modules("mypy")
        done = subprocess.run([checker, "-m", "mypy"], cwd=PACKAGE, capture_output=True, text=True, timeout=120)
        self.assertEqual(done.returncode, 0, done.stdout)


class Readme(unittest.TestCase):
    def blocks(self) -> "list[str]":
        text = (PACKAGE / "README.md").read_text() + (ROOT / "README.md").read_text()
        return re.findall(r"^```python\n(.*?)^```", text, re.MULTILINE | re.DOTALL)

    def test_its_code_is_python_and_names_what_exists(self) -> None:
        self.assertGreater(len(self.blocks()), 7)
        for block in self.blocks():
            with self.subTest(block=block.splitlines()[0]):
                ast.parse(block)
                for path in re.findall(r"(?<![/\w])ipcd((?:\.[A-Za-z_]+)+)", block):
                    operator.attrgetter(path[1:])(ipcd)


class Sources(unittest.TestCase):
    def sources(self) -> "list[pathlib.Path]":
        return sorted((PACKAGE / "src").rglob("*.py"))

    def test_the_oldest_python_reads_them(self) -> None:
        for path in [*self.sources(), *(PACKAGE / "examples").glob("*.py")]:
            with self.subTest(path.name):
                ast.parse(path.read_text(), feature_version=(3, 9))

    def test_nothing_but_the_standard_library_is_imported(self) -> None:
        imported = set()
        for path in self.sources():
            for node in ast.walk(ast.parse(path.read_text())):
                if isinstance(node, ast.Import):
                    imported |= {name.name.split(".")[0] for name in node.names}
                elif isinstance(node, ast.ImportFrom) and node.level == 0 and node.module:
                    imported.add(node.module.split(".")[0])
        origins = {name: importlib.util.find_spec(name) for name in imported}
        foreign = [name for name, spec in origins.items() if spec and "site-packages" in str(spec.origin)]
        self.assertEqual(foreign, [])

    def test_the_version_is_that_of_the_project(self) -> None:
        versions = {
            re.findall(r'^(?:__)?version(?:__)? = "(.*)"', path.read_text(), re.MULTILINE)[0]
            for path in (ROOT / "Cargo.toml", PACKAGE / "pyproject.toml", PACKAGE / "src" / "ipcd" / "__init__.py")
        }
        self.assertEqual(len(versions), 1)

    def test_files_are_short(self) -> None:
        long = {path.name: len(path.read_text().splitlines()) for path in self.sources()}
        self.assertEqual({name: lines for name, lines in long.items() if lines >= 600}, {})

    def test_the_session_knows_no_socket_clock_or_thread(self) -> None:
        """What the drivers share is pure: bytes and time go in, bytes and outcomes come out."""
        pure = ("session", "frame", "body", "flow", "feed", "pending", "inbound", "event", "caller", "error", "name")
        reaching = {"socket", "select", "threading", "time", "asyncio", "os", "subprocess", "random"}
        for name in pure:
            tree = ast.parse((PACKAGE / "src" / "ipcd" / f"{name}.py").read_text())
            imports = [node for node in ast.walk(tree) if isinstance(node, ast.Import)]
            named = {alias.name for node in imports for alias in node.names}
            with self.subTest(name):
                self.assertEqual(named & reaching, set())


if __name__ == "__main__":
    unittest.main()
