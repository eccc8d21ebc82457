"""What a service says of itself, from the annotations and docstrings of its functions: the answer to the method `?`."""

from __future__ import annotations

import collections.abc
import dataclasses
import inspect
import types
import typing
from typing import TYPE_CHECKING, Any, Dict, List, Mapping, Optional, Tuple, Union

from .body import Body

if TYPE_CHECKING:
    from .methods import Method

#: The method that every reader asks.
METHOD = "?"
_REQUEST = "Request"
_MISSING: Any = inspect.Parameter.empty
_PLAIN: Dict[Any, str] = {int: "i64", float: "f64", bool: "bool", str: "str", None: "unit", type(None): "unit"}
#: What travels as it is, in no JSON.
_BYTES = (bytes, bytearray, memoryview, Body)
_UNIONS = (Union, getattr(types, "UnionType", Union))
_LISTS = (list, collections.abc.Sequence, collections.abc.Iterable)
_MAPS = (dict, collections.abc.Mapping, collections.abc.MutableMapping)
_ITERATORS = (
    collections.abc.Iterator, collections.abc.Iterable, collections.abc.Generator,
    collections.abc.AsyncIterator, collections.abc.AsyncIterable, collections.abc.AsyncGenerator,
)  # fmt: skip
#: Structures inside structures are followed as far as readers follow them.
_DEEPEST = 100


def of(about: str, methods: "Mapping[str, Method]") -> Dict[str, Any]:
    """The description of a service, by the names of its methods."""
    said: Dict[str, Any] = {"about": about} if about else {}
    said["methods"] = {name: _of_method(method) for name, method in sorted(methods.items())}
    return said


def fingerprint(text: bytes) -> str:
    """A number that changes with the description: FNV-1a of 64 bits."""
    number = 0xCBF29CE484222325
    for byte in text:
        number = (number ^ byte) * 0x100000001B3 % 2**64
    return f"{number:016x}"


def _of_method(method: "Method") -> Dict[str, Any]:
    said: Dict[str, Any] = {}
    function = method.function
    about = inspect.getdoc(function) if isinstance(function, (types.FunctionType, types.MethodType)) else None
    if about:
        said["about"] = about
    if method.is_raw:
        return said
    said["request"] = _request(method)
    returned = method.hints.get("return", _MISSING)
    if method.is_streamed:
        if _is_generator(function) or typing.get_origin(returned) in _ITERATORS:
            item, returned = _items(returned)
            said["download"] = _Types().whole(item)
        elif method.takes_call:
            said["upload"] = _Types().whole(Any)
    if returned is not _MISSING and returned not in _BYTES:
        said["reply"] = _Types().whole(returned)
    return said


def _request(method: "Method") -> Dict[str, Any]:
    """The parameters as the members of an object, those with a default as options."""
    known = _Types()
    fields = []
    for one in method.parameters:
        if one.kind not in (one.POSITIONAL_OR_KEYWORD, one.KEYWORD_ONLY):
            return {"shape": "any"}  # members of any names, or none by name
        shape = known.shape(method.hints.get(one.name, Any))
        fields.append(_field(one.name, shape, one.default is _MISSING))
    return {"shape": {"type": _REQUEST}, "types": {_REQUEST: {"struct": fields}, **known.types}}


def _field(name: str, shape: Any, is_required: bool) -> Dict[str, Any]:
    is_option = isinstance(shape, dict) and "option" in shape
    return {"name": name, "shape": shape if is_required or is_option else {"option": shape}}


class _Types:
    """The shapes of one type, and the structures that it names."""

    def __init__(self) -> None:
        self.types: Dict[str, Any] = {}
        self._names: Dict[Any, str] = {}

    def whole(self, hint: Any) -> Dict[str, Any]:
        shape = self.shape(hint)
        return {"shape": shape, "types": self.types} if self.types else {"shape": shape}

    def shape(self, hint: Any) -> Any:
        """`any` for what isn't known."""
        try:
            if hint in _PLAIN:
                return _PLAIN[hint]
        except TypeError:  # it has no hash
            return "any"
        origin, arguments = typing.get_origin(hint) or hint, typing.get_args(hint)
        if origin in _UNIONS:
            others = [one for one in arguments if one is not type(None)]
            inner = self.shape(others[0]) if len(others) == 1 else "any"
            return {"option": inner} if len(others) < len(arguments) and inner != "any" else inner
        if origin in _LISTS:
            return {"list": self.shape(arguments[0]) if arguments else "any"}
        if origin in _MAPS:
            return {"map": ["str", self.shape(arguments[1]) if arguments else "any"]}
        if origin is tuple:
            if len(arguments) == 2 and arguments[1] is Ellipsis:
                return {"list": self.shape(arguments[0])}
            return {"tuple": [self.shape(one) for one in arguments]} if arguments else {"list": "any"}
        return self._structure(hint)

    def _structure(self, hint: Any) -> Any:
        members = _members(hint) if isinstance(hint, type) and len(self._names) < _DEEPEST else None
        if members is None:
            return "any"
        if hint not in self._names:
            name = hint.__name__
            while name == _REQUEST or name in self.types:
                name += "_"
            self._names[hint] = name
            self.types[name] = None  # a structure may contain itself
            fields = [_field(member, self.shape(inner), required) for member, inner, required in members]
            self.types[name] = {"struct": fields}
        return {"type": self._names[hint]}


def _members(hint: Any) -> Optional[List[Tuple[str, Any, bool]]]:
    """The members of a data class or a `TypedDict`: name, type, and whether it must be there."""
    try:
        hints = typing.get_type_hints(hint)
    except (NameError, TypeError, AttributeError):  # an annotation that only a type checker can read
        return None
    if dataclasses.is_dataclass(hint):
        absent = dataclasses.MISSING
        return [
            (one.name, hints.get(one.name, Any), one.default is absent and one.default_factory is absent)
            for one in dataclasses.fields(hint)
        ]
    required = getattr(hint, "__required_keys__", None)
    if required is None:
        return None
    return [(name, inner, name in required) for name, inner in hints.items()]


def _is_generator(function: Any) -> bool:
    return inspect.isgeneratorfunction(function) or inspect.isasyncgenfunction(function)


def _items(returned: Any) -> Tuple[Any, Any]:
    """What a generator yields and returns."""
    arguments = typing.get_args(returned)
    is_whole = typing.get_origin(returned) is collections.abc.Generator and len(arguments) == 3
    return (arguments[0] if arguments else Any), (arguments[2] if is_whole else None if arguments else _MISSING)
