"""What somebody's functions and data are, as digests, so that a resume sees when one of them is another (L63).

A function is its code, its defaults, what it closes over, the globals that it names, and the same of the functions and
classes of the user's own modules that it uses. An object is its class and its state: what `pickle` would ask it for. A
`partial` is what it binds. What is from the standard library or an installed package is known by its name alone. Only
digests leave this module: what a function closes over may be a secret.

What cannot be read (a client, a lock, a socket, more than `OBJECTS_MAX` objects) is `opaque`: it is named, so that
people can give their function a `version`, which then stands for all of it. Of the user's modules that are imported
while a function runs, the text counts; see `imports.py`.
"""

from __future__ import annotations

import copyreg
import dataclasses
import enum
import functools
import os
import site
import sys
import sysconfig
import types
from collections.abc import Callable, Iterable, Iterator
from hashlib import blake2b
from typing import Any

import msgspec

from ..values.typed import is_plain
from .code import Code, compiled, written
from .imports import imported_by

OBJECTS_MAX = 20_000
"""Objects that are looked at for one function, besides plain data."""
DEPTH_MAX = 60
"""So many steps from the function."""
ITEMS_MAX = 1_000_000
"""Items of one list or dict; what is larger is opaque."""

_plain = msgspec.msgpack.Encoder(order="deterministic").encode


class Contents:
    """Looks at functions and data. `source`: code is known by its source text, which other versions of Python compile to
    something else. `packages`: those of the user, although they may be installed."""

    def __init__(self, packages: Iterable[str] = (), *, source: bool = False) -> None:
        self.opaque: dict[str, None] = {}
        """Names of what could not be read, in the order in which it was met."""
        self.sourceless = False
        """There was code whose source text cannot be had, where that was asked for."""
        self._packages = frozenset(packages) - sys.stdlib_module_names - {"headrace"}
        self._source = source
        self._known: dict[int, bytes] = {}
        self._kept: list[object] = []
        """Objects whose `id` is remembered must live as long."""
        self._codes: dict[types.CodeType, Code] = {}
        self._way: list[int] = []
        self._left = OBJECTS_MAX

    def parts_of(self, function: object) -> dict[str, bytes]:
        """What a function is made of, each by what people would call it."""
        return dict(self._parts(function, forced=True))

    def digest(self, value: object, name: str) -> bytes:
        """Of any value. `name`: what people would call it."""
        fast = _fast(value)
        if fast is not None:
            return fast
        found = self._known.get(id(value))
        if found is not None:
            return found
        if id(value) in self._way:
            # It holds itself: how many steps back.
            return b"up%d" % (len(self._way) - self._way.index(id(value)))
        self._left -= 1
        if self._left < 0 or len(self._way) > DEPTH_MAX:
            return self._unread(value, name, f"more than {OBJECTS_MAX:,} objects")
        self._way.append(id(value))
        try:
            found = self._any(value, name)
        except (RecursionError, MemoryError):
            raise
        except Exception:
            # Somebody's `__reduce__`, property or `__eq__`.
            found = self._unread(value, name)
        finally:
            self._way.pop()
        self._known[id(value)] = found
        self._kept.append(value)
        return found

    def _unread(self, value: object, name: str, why: str | None = None) -> bytes:
        kind = type(value)
        self.opaque[f"{name or 'it'} ({why or f'{kind.__module__}.{kind.__qualname__}'.removeprefix('builtins.')})"] = (
            None
        )
        return _hash("opaque", kind.__module__.encode(), kind.__qualname__.encode())

    def _any(self, value: Any, name: str) -> bytes:
        if isinstance(value, list | tuple | dict | set | frozenset) and len(value) > ITEMS_MAX:
            return self._unread(value, name, f"more than {ITEMS_MAX:,} items")
        kind = type(value)
        if kind in (list, tuple):
            return _hash(kind.__name__, *(self.digest(each, name) for each in value))
        if kind in (set, frozenset):
            return _hash(kind.__name__, *sorted(self.digest(each, name) for each in value))
        if isinstance(value, dict | types.MappingProxyType):
            pairs = sorted(self.digest(k, name) + self.digest(v, name) for k, v in value.items())
            return _hash(kind.__name__, *pairs)
        if isinstance(value, types.ModuleType):
            return _hash("module", value.__name__.encode())
        if isinstance(value, type):
            return self._class(value, name)
        if isinstance(value, enum.Enum):
            return _hash("enum", self.digest(kind, name), str(value.name).encode(), self.digest(value.value, name))
        if isinstance(value, os.PathLike) and kind.__module__.startswith("pathlib"):
            return _hash("path", os.fspath(value).encode("utf-8", "surrogateescape"))
        parts = list(self._parts(value, name=name))
        return _hash("made of", *(part for label, each in sorted(parts) for part in (label.encode(), each)))

    # --- functions and objects ---

    def _parts(self, value: Any, *, forced: bool = False, name: str = "") -> Iterator[tuple[str, bytes]]:
        """`forced`: it is looked into wherever it is from."""
        version = _version_of(value)
        if version is not None and not forced:
            yield "its version", _hash("version", str(version).encode())
            return
        match value:
            case types.FunctionType():
                if forced or self._is_own(value.__module__):
                    yield from self._function(value, name)
                else:
                    yield "its name", _hash(value.__module__, value.__qualname__.encode())
            case types.MethodType():
                yield from self._parts(value.__func__, forced=forced, name=name)
                of = value.__self__
                yield from self._parts(of, name=name) if isinstance(of, type) else self._object(of, name)
            case type():
                yield f"its class {value.__qualname__}", self.digest(value, name)
            case functools.cached_property():
                yield from self._parts(value.func, forced=forced, name=name)
            case functools.partial():
                yield from self._parts(value.func, forced=forced and _version_of(value.func) is None, name=name)
                for index, each in enumerate(value.args):
                    yield f"what it binds as argument {index}", self.digest(each, _of(name, f"argument {index}"))
                for key, each in sorted(value.keywords.items()):
                    yield f"what it binds as {key!r}", self.digest(each, _of(name, key))
            case types.BuiltinFunctionType() | types.MethodWrapperType():
                yield "its name", _hash(str(value.__module__), value.__qualname__.encode())
                own = getattr(value, "__self__", None)
                if own is not None and not isinstance(own, types.ModuleType):
                    yield "what it is bound to", self.digest(own, _of(name, "__self__"))
            case staticmethod() | classmethod():
                yield from self._parts(value.__func__, forced=forced, name=name)
            case property():
                for each in ("fget", "fset", "fdel"):
                    yield each, self.digest(getattr(value, each), name)
            case _ if isinstance(getattr(value, "text", None), str) and type(value).__module__.startswith("headrace."):
                yield "its expression", _hash("expression", value.text.encode())
            case _ if hasattr(value, "__wrapped__") and not hasattr(type(value), "__wrapped__"):
                # What `functools.lru_cache` makes.
                yield from self._parts(value.__wrapped__, forced=forced, name=name)
            case types.MemberDescriptorType() | types.GetSetDescriptorType() | types.WrapperDescriptorType():
                yield "its name", _hash("descriptor", value.__qualname__.encode())
            case types.MethodDescriptorType() | types.ClassMethodDescriptorType():
                yield "its name", _hash("descriptor", value.__qualname__.encode())
            case _:
                yield from self._object(value, name)

    def _function(self, function: types.FunctionType, name: str) -> Iterator[tuple[str, bytes]]:
        code = self._code(function.__code__)
        digest = written(function) if self._source else code.digest
        if digest is None:
            self.sourceless, digest = True, b""
        yield "its code", digest
        count = function.__code__.co_argcount
        defaults = function.__defaults__ or ()
        taken = function.__code__.co_varnames[count - len(defaults) : count]
        for key, each in [*zip(taken, defaults, strict=False), *(function.__kwdefaults__ or {}).items()]:
            yield f"its default of {key!r}", self.digest(each, _of(name, key))
        for key, cell in zip(function.__code__.co_freevars, function.__closure__ or (), strict=True):
            try:
                held = cell.cell_contents
            except ValueError:
                # It is not bound yet.
                continue
            yield f"what it closes over as {key!r}", self.digest(held, _of(name, key))
        for key, each in sorted(vars(function).items()):
            if key not in ("version", "__wrapped__") and isinstance(key, str):
                yield f"its attribute {key!r}", self.digest(each, _of(name, key))
        yield from self._globals(function, code, name)

    def _globals(self, function: types.FunctionType, code: Code, name: str) -> Iterator[tuple[str, bytes]]:
        known = function.__globals__
        for module, digest in imported_by(code.imports, known.get("__package__"), self._is_own):
            yield f"what it imports as {module!r}", digest
        for key in sorted(code.names):
            if key not in known:
                continue
            value = known[key]
            if isinstance(value, types.ModuleType):
                if self._is_own(value.__name__):
                    for each in sorted(code.attributes & vars(value).keys()):
                        told = f"{key}.{each}"
                        yield f"what it uses as {told!r}", self.digest(vars(value)[each], _of(name, told))
            elif not _is_from_elsewhere(key, value, self._is_own):
                yield f"what it uses as {key!r}", self.digest(value, _of(name, key))

    def _code(self, code: types.CodeType) -> Code:
        found = self._codes.get(code)
        if found is None:
            found = self._codes[code] = compiled(code)
        return found

    def _object(self, value: object, name: str) -> Iterator[tuple[str, bytes]]:
        """The parts of an object with their digests: its class and its state."""
        kind = type(value)
        own = self._is_own(kind.__module__)
        yield f"its class {kind.__qualname__}", self.digest(kind, name)
        before = dict(self.opaque)
        try:
            reduce = copyreg.dispatch_table.get(kind)
            made = reduce(value) if reduce is not None else value.__reduce_ex__(4)
        except Exception:
            # It cannot be pickled: a lock, a socket, a generator.
            yield "its state", self._unread(value, name)
            return
        told = list(self._state(made, kind, name))
        if len(self.opaque) > len(before) and not own:
            # A client, a pool, a model: what else it holds is its own business, and changes as it goes.
            self.opaque = before
            told = [("its state", self._unread(value, name))]
        yield from told

    def _state(self, made: Any, kind: type, name: str) -> Iterator[tuple[str, bytes]]:
        if isinstance(made, str):
            yield "its state", _hash("named", made.encode())
            return
        function, args, state, *items = (*made, None, None, None)[: max(len(made), 3)]
        yield "how it is made", _hash("made by", str(getattr(function, "__qualname__", "")).encode())
        rest = [each for each in args if each is not kind and each is not object]
        if rest:
            yield "what it is made of", _hash("args", *(self.digest(each, name) for each in rest))
        states = state if isinstance(state, tuple) and len(state) == 2 and _is_slots(state) else (state,)
        for each in states:
            if isinstance(each, dict) and all(isinstance(key, str) for key in each):
                for key in sorted(each):
                    yield f"its attribute {key!r}", self.digest(each[key], _of(name, key))
            elif each is not None:
                yield "its state", self.digest(each, name)
        for each in items:
            if each is not None:
                yield "its items", _hash("items", *(self.digest(one, name) for one in each))

    def _class(self, kind: type, name: str) -> bytes:
        known = _hash("class", kind.__module__.encode(), kind.__qualname__.encode())
        if not self._is_own(kind.__module__):
            return known
        parts = [kind.__qualname__.encode(), *(self.digest(base, name) for base in kind.__bases__)]
        for key, each in sorted(vars(kind).items()):
            if key == "version" or not _counts(key, each):
                continue
            parts += [key.encode(), self.digest(each, _of(kind.__qualname__, key))]
        if dataclasses.is_dataclass(kind):
            for field in dataclasses.fields(kind):
                for each in (field.default, field.default_factory):
                    if each is not dataclasses.MISSING:
                        parts += [field.name.encode(), self.digest(each, _of(kind.__qualname__, field.name))]
        if issubclass(kind, msgspec.Struct):
            parts.append(repr(kind.__struct_fields__).encode())
            defaults = [getattr(each, "factory", each) for each in kind.__struct_defaults__]
            parts += [self.digest(each, kind.__qualname__) for each in defaults]
        if issubclass(kind, enum.Enum):
            parts += [self.digest((each, member.value), name) for each, member in kind.__members__.items()]
        return _hash("class", *parts)

    def _is_own(self, module: str | None, file: str | None = None) -> bool:
        """Whether a module is the user's, not the standard library's or an installed package's. `file`: where it is, if it
        need not have been imported."""
        return module is not None and (module.partition(".")[0] in self._packages or _is_users(module, file))


def _fast(value: Any) -> bytes | None:
    """What plain data is, as bytes; None for what has to be walked through."""
    kind = type(value)
    if value is None or value is ... or value is NotImplemented:
        return repr(value).encode()
    if kind in (bool, int, float, complex):
        return _hash(kind.__name__, repr(value).encode() if kind is not int else hex(value).encode())
    if kind is str:
        return _hash("str", value.encode("utf-8", "surrogatepass"))
    if kind in (bytes, bytearray):
        return _hash(kind.__name__, value)
    if kind in (list, dict) and len(value) <= ITEMS_MAX and is_plain(value):
        try:
            return _hash("plain", _plain(value))
        except (ValueError, OverflowError):
            return None
    return None


def _hash(kind: str, *parts: bytes | bytearray) -> bytes:
    told = blake2b(kind.encode(), digest_size=16)
    for part in parts:
        told.update(b"%d:" % len(part))
        told.update(part)
    return told.digest()


def _of(name: str, part: str) -> str:
    return f"{name}.{part}" if name else part


def _version_of(value: Any) -> object:
    """What somebody says that a function is: an attribute of it, or of the object whose method it is."""
    if isinstance(value, functools.partial):
        return vars(value).get("version")
    if isinstance(value, type) or not callable(value):
        return None
    try:
        found = getattr(value, "version", None)
        if found is None and isinstance(value, types.MethodType):
            found = getattr(value.__self__, "version", None)
    except Exception:
        # Somebody's property.
        return None
    return found if isinstance(found, str | int | float) else None


def version_of(function: object) -> str | None:
    """The version that stands for all that a function is; None where it says none."""
    found = _version_of(function)
    return str(found) if found is not None else None


def _is_slots(state: tuple[object, object]) -> bool:
    """What an object with `__slots__` gives as its state."""
    first, second = state
    return (first is None or isinstance(first, dict)) and isinstance(second, dict)


def _counts(key: str, value: object) -> bool:
    """Whether something in a class says what the class does. What decorators and metaclasses add says it twice."""
    if key.startswith("_abc_") or isinstance(value, types.MemberDescriptorType | types.GetSetDescriptorType):
        return False
    function = value.__func__ if isinstance(value, staticmethod | classmethod) else value
    if isinstance(function, types.FunctionType):
        return not function.__code__.co_filename.startswith("<") or function.__code__.co_filename.startswith("<ipython")
    if isinstance(value, enum.Enum) or key.startswith(("_member", "_value2")):
        return False
    return not (key.startswith("__") and key.endswith("__"))


def _is_from_elsewhere(key: str, value: object, is_own: Callable[[str], bool]) -> bool:
    """Whether it is by this name in the package that it is from, such as `from loguru import logger`."""
    module = str(getattr(value, "__module__", None) or type(value).__module__)
    while module:
        if is_own(module) or module == "builtins":
            return False
        if getattr(sys.modules.get(module), key, None) is value and not isinstance(value, type | types.FunctionType):
            return True
        module = module.rpartition(".")[0]
    return False


@functools.cache
def _is_users(module: str, file: str | None = None) -> bool:
    top = module.partition(".")[0]
    if top == "__main__":
        return True
    if top in sys.stdlib_module_names or top == "headrace":
        return False
    file = file or getattr(sys.modules.get(module), "__file__", None)
    return file is not None and not os.path.abspath(file).startswith(_installed())


@functools.cache
def _installed() -> tuple[str, ...]:
    """Folders of the standard library and of installed packages."""
    paths = sysconfig.get_paths()
    known = [paths[key] for key in ("stdlib", "platstdlib", "purelib", "platlib")]
    return tuple(os.path.join(path, "") for path in [*known, *site.getsitepackages(), site.getusersitepackages()])
