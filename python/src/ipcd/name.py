"""Names of services, methods, topics and patterns."""

from __future__ import annotations

import re
from typing import Dict, Optional

from .error import UsageError
from .frame import MAX_NAME, METHOD, SERVICE

_LABEL = "[a-z0-9_-]+"
_NAME = re.compile(rf"{_LABEL}(\.{_LABEL})*")
_METHOD = re.compile(_LABEL)
_PEER = re.compile(r"@[1-9][0-9]*")
_PATTERN = re.compile(rf"({_LABEL}|\*)(\.({_LABEL}|\*))*(\.\*\*|\.)?|\*\*")


def service(name: str) -> str:
    """The name of a service, a topic or a lock, if it is one."""
    if not isinstance(name, str):
        raise UsageError(f"{name!r} isn't a name: it must be a text")
    if len(name) > MAX_NAME or not _NAME.fullmatch(name):
        raise UsageError(f"{name!r} isn't a valid name: labels of a-z, 0-9, _ and -, joined by dots, up to 255 bytes")
    return name


def method(name: str) -> str:
    """The name of a method, if it is one."""
    if not isinstance(name, str):
        raise UsageError(f"{name!r} isn't a name of a method: it must be a text")
    if name and (len(name) > MAX_NAME or not _METHOD.fullmatch(name)):
        raise UsageError(f"{name!r} isn't a valid name of a method: a-z, 0-9, _ and -, up to 255 bytes")
    return name


def pattern(text: str) -> str:
    """A pattern, if it is one."""
    if not isinstance(text, str):
        raise UsageError(f"{text!r} isn't a pattern: it must be a text")
    if len(text) > MAX_NAME or not _PATTERN.fullmatch(text):
        raise UsageError(f"{text!r} isn't a valid pattern: a name in which a label may be *, and the last one **")
    return text


def target(text: str, method_name: Optional[str] = None) -> Dict[int, bytes]:
    """The routing fields of a target such as `calc.add`, `calc` or `@17.add`. The broker tells service from method, unless the method
    is named apart."""
    if not isinstance(text, str):
        raise UsageError(f"{text!r} isn't a target: it must be a text such as 'calc.add'")
    known = _TARGETS.get(text) if method_name is None else None
    if known is not None:
        return known.copy()
    name, added = text, method_name
    if text.startswith("@"):
        peer, dot, last = text.partition(".")
        if not _PEER.fullmatch(peer) or (dot and (method_name is not None or not last)):
            raise UsageError(f"{text!r} isn't a valid target")
        name, added = peer, last if dot else method_name
    else:
        service(name)
    fields = {SERVICE: name.encode()}
    if added:
        fields[METHOD] = method(added).encode()
    if method_name is None and len(_TARGETS) < 1024:
        _TARGETS[text] = fields.copy()
    return fields


#: Targets that were checked: a program calls few of them, often.
_TARGETS: Dict[str, Dict[int, bytes]] = {}
