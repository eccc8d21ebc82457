"""docs/protocol.md, as the tests read it."""

from __future__ import annotations

import itertools
import re
from typing import Dict, List

from support import ROOT

TEXT = (ROOT / "docs/protocol.md").read_text()


def frames() -> Dict[str, bytes]:
    """The hexdumps by their names."""
    found = {}
    for name, dump in re.findall(r"^```hex (\w+)\n(.*?)^```", TEXT, re.MULTILINE | re.DOTALL):
        digits = "".join(line.split("#")[0] for line in dump.splitlines())
        found[name] = bytes.fromhex(digits)
    return found


def table(section: str, first: str) -> List[List[str]]:
    """The rows of the table in a section whose first column has this name, without its head."""
    after = TEXT.split(f"\n## {section}\n", 1)[1].split("\n## ", 1)[0]
    lines = after.splitlines()
    start = next(at for at, line in enumerate(lines) if line.startswith(f"| {first} |"))
    rows = itertools.takewhile(lambda line: line.startswith("|"), lines[start + 2 :])
    return [[cell.strip().replace("`", "") for cell in row.strip("|").split("|")] for row in rows]
