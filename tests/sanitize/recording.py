"""Calls of compiled code, recorded with the memory that they read and write.

``replay.cpp`` makes the same calls. It gives every array memory of exactly its size, so that an
access in front of it or behind it is one that AddressSanitizer sees, also where Python keeps many
arrays in one piece.

A recording is a sequence of 64-bit integers, with names and contents as bytes in between.
"""

import ctypes
import struct
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from enum import IntEnum
from pathlib import Path
from typing import Any
from unittest.mock import patch

import numpy as np

from lightmamba import native
from lightmamba.device.sim.simulator import Simulator
from lightmamba.engine import described, workspace
from lightmamba.engine import native as engine
from lightmamba.hardware.estimate import fill
from lightmamba.native import events, library

__all__ = ["Recording"]


class Given(IntEnum):
    """Arguments of a call, as replay.cpp knows them."""

    NUMBER = 0
    MEMORY = 1
    REAL = 2
    HANDLE = 3  # what the call that opens has returned


class Result(IntEnum):
    """Ways to treat a result."""

    LEFT = 0
    EQUAL = 1  # its low 32 bits are those of the recording
    HANDLE = 2


@dataclass(eq=False)
class Memory:
    """An array or a struct, and what keeps it alive."""

    address: int
    size: int
    owner: Any
    number: int = -1  # in the call that is recorded


def _words(*numbers: int) -> bytes:
    return struct.pack(f"<{len(numbers)}q", *numbers)


def _addresses(kind: Any, at: int = 0) -> Iterator[int]:
    """Where the pointers of a struct, or of an array of structs, lie in it."""
    if kind is ctypes.c_void_p:
        yield at
    elif issubclass(kind, ctypes.Array):
        for n in range(kind._length_):
            yield from _addresses(kind._type_, at + n * ctypes.sizeof(kind._type_))
    elif issubclass(kind, ctypes.Structure):
        for name, inner in kind._fields_:
            yield from _addresses(inner, at + getattr(kind, name).offset)


@dataclass
class Recording:
    """Calls while :meth:`of_kernels` or :meth:`of_simulators` is entered.

    Attributes
    ----------
    known
        Memory by its address: of several that begin there, the one that was handed over last.
    calls
        As they are written.
    """

    known: dict[int, Memory] = field(default_factory=dict)
    calls: list[bytes] = field(default_factory=list)

    def array(self, array: Any) -> None:
        """Note an array whose address is handed over."""
        self._note(array.ctypes.data, array.nbytes, array)

    def struct(self, one: Any) -> None:
        """Note a struct, or an array of structs, whose address is handed over."""
        self._note(ctypes.addressof(one), ctypes.sizeof(one), one)

    def _note(self, address: int, size: int, owner: Any) -> None:
        self.known[address] = Memory(address, size, owner)

    def write(self, path: Path) -> Path:
        """Write what was recorded."""
        path.write_bytes(_words(len(self.calls)) + b"".join(self.calls))
        return path

    def call(
        self, name: str, given: list[tuple[Given, int]], function: Callable[[], Any],
        result: Result = Result.EQUAL,
    ) -> Any:  # fmt: skip
        """Make a call and record it; what is memory is given by its address."""
        blocks, arguments = list[Memory](), list[int]()
        for kind, value in given:
            if kind == Given.MEMORY:
                kind, value = (kind, self._reached(value, blocks)) if value else (Given.NUMBER, 0)
            arguments += [kind, value]
        before = [ctypes.string_at(each.address, each.size) for each in blocks]
        returned = function()
        after = [ctypes.string_at(each.address, each.size) for each in blocks]
        if result == Result.EQUAL and not isinstance(returned, int):
            result = Result.LEFT
        value = returned & 0xFFFFFFFF if result == Result.EQUAL else 0
        parts = [_words(len(name)), name.encode(), _words(len(given), *arguments)]
        parts.append(_words(result, value, len(blocks)))
        for block, old, new in zip(blocks, before, after, strict=True):
            align = max(8, min(64, block.address & -block.address))
            pointers = self._pointers(block, old)
            parts.append(_words(align, block.size, len(pointers)))
            parts += [_words(at, self.known[target].number) for at, target in pointers]
            parts += [old, new]
        for block in blocks:
            block.number = -1
        self.calls.append(b"".join(parts))
        return returned

    def _reached(self, address: int, blocks: list[Memory]) -> int:
        """Number of the memory at an address; it and all that it points to are among the blocks."""
        memory = self.known.get(address)
        if memory is None:
            raise LookupError(f"nobody said what lies at {address:#x}")
        if memory.number < 0:
            memory.number = len(blocks)
            blocks.append(memory)
            for _, target in self._pointers(memory, ctypes.string_at(address, memory.size)):
                self._reached(target, blocks)
        return memory.number

    def _pointers(self, memory: Memory, content: bytes) -> list[tuple[int, int]]:
        """Where pointers lie in some memory, and to what; those that are null are left out."""
        if isinstance(memory.owner, np.ndarray | bytes):
            return []
        places = _addresses(type(memory.owner))
        found = [(at, struct.unpack_from("<Q", content, at)[0]) for at in places]
        return [(at, target) for at, target in found if target]

    @contextmanager
    def of_kernels(self, threads: int) -> Iterator[None]:
        """Record calls of the kernels, to be made on ``threads`` threads."""
        plain, addressof, array = described.pointer, ctypes.addressof, events._array
        sequences, walk, kernels = engine._sequences, events.walk, library.kernels

        def pointer(of: Any) -> int:
            self.array(of)
            return plain(of)

        def address(of: Any) -> int:
            found = addressof(of)
            self._note(found, ctypes.sizeof(of), of)
            return found

        def state(of: Any) -> Any:
            for each in (of.data, *(pages.data for pages in of.pages)):
                self.array(each)
            return sequences(of)

        def entries(*given: Any) -> Any:
            self.array(found := array(*given))
            return found

        def walked(lists: Any, arrays: Any, *others: Any) -> bool:
            for each in arrays.values():
                self.array(each)
            return walk(lists, arrays, *others)

        def walker(isa: str) -> Any:
            return _Walks(self, kernels(isa))

        def call(context: native.Context, name: str, *given: Any) -> None:
            arguments = [(Given.HANDLE, 0), *map(self._argument, given)]
            self.call(f"lightmamba_{name}", arguments, lambda: made(context, name, *given) or 0)

        made = native.Context.call
        with (
            patch.object(described, "pointer", pointer),
            patch.object(workspace, "pointer", pointer),
            patch.object(engine, "pointer", pointer), patch.object(ctypes, "addressof", address),
            patch.object(engine, "_sequences", state), patch.object(events, "_array", entries),
            patch.object(fill, "walk", walked), patch.object(events, "kernels", walker),
            patch.object(native.Context, "call", call),
        ):  # fmt: skip
            self.call("lightmamba_open", [(Given.NUMBER, threads)], lambda: None, Result.HANDLE)
            yield
            self.call("lightmamba_close", [(Given.HANDLE, 0)], lambda: None)

    def _argument(self, given: Any) -> tuple[Given, int]:
        """An argument of the kernels; a struct and an array of them are memory."""
        if isinstance(given, int):
            return Given.NUMBER, given
        if isinstance(given, ctypes.Structure | ctypes.Array):
            self.struct(given)
            return Given.MEMORY, ctypes.addressof(given)
        return Given.NUMBER, given.value

    @contextmanager
    def of_simulators(self) -> Iterator[None]:
        """Record calls of the simulator that is opened meanwhile."""
        plain, sizes = Simulator._call, dict[int, int]()

        def call(simulator: Simulator, name: str, *given: Any) -> Any:
            function = f"lm_{name}"
            if name == "channel":
                self.calls or self.call("lm_create", [], lambda: None, Result.HANDLE)
            arguments = [(Given.HANDLE, 0)]
            for n, each in enumerate(given):
                if name == "host_stall" and n == 0:
                    (real,) = struct.unpack("<q", struct.pack("<d", each))
                    arguments.append((Given.REAL, real))
                elif isinstance(each, bytes) or hasattr(each, "_obj"):  # by reference
                    text = isinstance(each, bytes)
                    one = ctypes.create_string_buffer(each) if text else each._obj
                    self.struct(one)
                    arguments.append((Given.MEMORY, ctypes.addressof(one)))
                elif size := _size(name, n, given, simulator, sizes):
                    self._note(each, size, b"")
                    arguments.append((Given.MEMORY, each))
                else:
                    arguments.append((Given.NUMBER, each or 0))
            found = self.call(function, arguments, lambda: plain(simulator, name, *given))
            if name == "probe_count":
                sizes[given[0]] = int(found)
            return found

        with patch.object(Simulator, "_call", call):
            yield


def _size(name: str, n: int, given: Any, simulator: Simulator, counts: dict[int, int]) -> int:
    """Bytes at the address that is the n-th argument of a call of a simulator; 0: it is none."""
    if name in ("memory_read", "memory_write") and n == 2:
        return int(given[3])
    if name == "counters" and n == 1:
        return 7 * 8
    if name == "probe_take" and n > 0:
        (size,) = (size for place, size in simulator._probes.values() if place == given[0])
        return counts[given[0]] * (size if n == 1 else 4)
    return 0


class _Walks:
    """A library whose walks are recorded."""

    def __init__(self, recording: Recording, library: Any) -> None:
        self.recording, self.library = recording, library

    def lightmamba_walk(self, machine: Any) -> int:
        """Walk a machine."""
        self.recording.struct(machine._obj)
        address = ctypes.addressof(machine._obj)
        return int(self.recording.call(
            "lightmamba_walk", [(Given.MEMORY, address)],
            lambda: self.library.lightmamba_walk(machine),
        ))  # fmt: skip
