"""The walk of a machine from event to event, as the estimate uses it (``events.hpp``)."""

import ctypes
from collections.abc import Mapping, Sequence
from enum import IntEnum

import numpy as np
from numpy.typing import NDArray

from lightmamba.common.errors import InputError
from lightmamba.native.library import kernels
from lightmamba.native.structs import FOLDER, fields

__all__ = ["Mode", "When", "walk"]

HEADER = FOLDER / "events.hpp"
NO_MEMORY, FAILED, STUCK = 1, 2, 3  # of the statuses in api.cpp
# Lists of a machine, and the structs of their entries.
LISTS = {
    "queues": "QueueSpec", "takes": "Take", "gives": "Give", "rows": "Row", "jobs": "Job",
    "units": "UnitSpec", "readers": "ReaderSpec", "writers": "WriterSpec", "ports": "PortSpec",
    "channels": "ChannelSpec", "commands": "CommandSpec",
}  # fmt: skip


class Mode(IntEnum):
    """How a step gives."""

    LET = 0
    EMPTY = 1
    SINGLY = 2
    HOLD = 3
    STORE = 4
    LEAVE = 5


class When(IntEnum):
    """When a reader is asked."""

    AHEAD = 0
    BEGIN = 1
    STATE = 2


class Latencies(ctypes.Structure):
    """Cycles between units and memory."""

    _fields_ = fields("Latencies", path=HEADER)


class Machine(ctypes.Structure):
    """All of a machine."""

    _fields_ = fields("Machine", Latencies, path=HEADER)


def walk(
    lists: Mapping[str, Sequence[Mapping[str, int]]],
    plain: Mapping[str, NDArray[np.uint8] | NDArray[np.int64]],
    numbers: Mapping[str, int],
    latency: Mapping[str, int],
) -> bool:
    """Run a machine; whether it came to an end, else all of it waits for something.

    Parameters
    ----------
    lists
        Entries of each of ``LISTS`` by their fields; what is not there is 0.
    plain
        Arrays: ``steps``, ``clients``, ``parts``, and ``log``, which is written.
    numbers, latency
        The other fields of the machine, and those of its latencies.

    Raises
    ------
    InputError
        If the kernels were not built.
    """
    arrays = {name: _array(lists[name], struct) for name, struct in LISTS.items()}
    machine = Machine(latency=Latencies(**latency), **numbers)
    for name, array in {**arrays, **plain}.items():
        setattr(machine, name, array.ctypes.data)
        if hasattr(machine, f"n_{name}"):
            setattr(machine, f"n_{name}", len(array))
    library = kernels("portable")
    if library is None:
        raise InputError(
            "the estimate needs the compiled kernels, which were not built; install a C++ compiler "
            "and build them: make setup in a clone, or pip install ."
        )
    status = library.lightmamba_walk(ctypes.byref(machine))
    if status in (NO_MEMORY, FAILED):
        raise MemoryError("the kernels got no memory for the walk of a machine")
    return bool(status != STUCK)


def _array(entries: Sequence[Mapping[str, int]], struct: str) -> NDArray[np.int64]:
    """Entries side by side, as an array of the struct lies in memory."""
    names = [name for name, _ in fields(struct, path=HEADER)]
    if unknown := {name for entry in entries for name in entry} - {*names}:
        raise ValueError(f"struct {struct} of {HEADER.name} has no {', '.join(sorted(unknown))}")
    rows = [[entry.get(name, 0) for name in names] for entry in entries]
    return np.array(rows, np.int64).reshape(-1, len(names))
