"""The SDRAM controller in Verilator, between AXI traffic and the chip's model; the model alone."""

import ctypes
import weakref
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from lightmamba.device.sim.library import build_library
from lightmamba.device.sim.sdram_chips import limits
from lightmamba.hardware.rtl.verilog import written
from lightmamba.hardware.soc.sdram import SdramController

__all__ = ["Chip", "Outcome", "Transaction", "built", "chip", "simulate"]

HARNESS = Path(__file__).parents[1] / "soc/sdram_harness.cpp"
LIMIT_PS = 20_000_000_000


class Transaction(ctypes.Structure):
    """A burst: ``write`` 0 reads, 1 writes, 2 writes with random strobes."""

    _fields_ = (
        ("address", ctypes.c_uint64), ("beats", ctypes.c_uint32), ("id", ctypes.c_uint32),
        ("write", ctypes.c_uint32), ("after", ctypes.c_uint32),
    )  # fmt: skip


class Setup(ctypes.Structure):
    """Clocks, stalls and seed of a run."""

    _fields_ = (
        *((n, ctypes.c_int64) for n in ("sync_ps", "sdram_ps", "sync_phase_ps", "lag_ps")),
        ("capture", ctypes.c_uint64), ("seed", ctypes.c_uint64),
        ("early", ctypes.c_uint64), ("limit_ps", ctypes.c_int64),
        *((f"stall_{n}", ctypes.c_double) for n in ("ar", "r", "aw", "w", "b")),
    )  # fmt: skip


class Outcome(ctypes.Structure):
    """Counts and times of a run, in picoseconds."""

    _fields_ = (
        *((n, ctypes.c_uint64) for n in ("wrong", "violations", "refreshes", "bytes_read",
                                         "bytes_written", "finished")),
        *((n, ctypes.c_int64) for n in ("ready_ps", "first_ps", "last_ps", "read_wait_ps",
                                        "write_wait_ps", "first_read_ps")),
    )  # fmt: skip
    text = ""

    def efficiency(self, mhz: float) -> float:
        """Share of the chip's peak, 2 bytes per cycle, from the first address to the end."""
        time_us = (self.last_ps - self.first_ps) / 1e6
        return float((self.bytes_read + self.bytes_written) / (2 * mhz * time_us))


def simulate(
    traffic: Iterable[Transaction],
    *,
    bits: int = 64,
    mhz: float = 100.0,
    sync_mhz: float = 60.0,
    stalls: float | tuple[float, ...] = 0.0,
    seed: int = 0,
    lag_ps: int | None = None,
    phase_ps: int = 0,
    capture: int = 1,
    early: bool = False,
    limit_ps: int = LIMIT_PS,
    library: Path | None = None,
    **others: int,
) -> Outcome:
    """Run traffic through a controller; its text has what was wrong and every violation.

    ``library`` is what :func:`built` made of another component with the controller's ports, else
    the controller itself is used. ``others`` are limits of the chip, in picoseconds; the rest are
    those of all chips together.
    """
    loaded = _library(library or _controller(bits, mhz))
    period = round(1e6 / mhz)
    each = stalls if isinstance(stalls, tuple) else (stalls,) * 5
    setup = Setup(round(1e6 / sync_mhz), period, phase_ps, period if lag_ps is None else lag_ps,
                  capture, seed, early, limit_ps, *each)  # fmt: skip
    listed = list(traffic)
    bench = ctypes.c_void_p(loaded.bench_new(ctypes.byref(setup), ctypes.byref(_limits(others))))
    outcome = Outcome()
    loaded.bench_run(
        bench, (Transaction * len(listed))(*listed), ctypes.c_uint64(len(listed)),
        ctypes.byref(outcome),
    )  # fmt: skip
    outcome.text = loaded.bench_text(bench).decode()
    loaded.bench_delete(bench)
    return outcome


@dataclass
class Chip:
    """The chip's model, tick by tick."""

    library: Any
    handle: ctypes.c_void_p
    period_ps: int = 10_000
    now: int = 0

    def tick(
        self, command: int = 7, bank: int = 0, address: int = 0, *, dqm: int = 0,
        write: int | None = None, cycles: int = 1,
    ) -> None:  # fmt: skip
        """One command after ``cycles`` cycles: RAS#, CAS# and WE# from the high bit down."""
        for n in range(cycles):
            last = n == cycles - 1
            self.now += self.period_ps
            self.library.chip_tick(
                self.handle, ctypes.c_int64(self.now), command if last else 7, bank,
                address if last else 0, dqm, write or 0, int(write is not None),
            )  # fmt: skip

    def data(self, after_ps: int = 9_999) -> int:
        """Value of the data lines, this long after the last tick."""
        return int(self.library.chip_dq(self.handle, ctypes.c_int64(self.now + after_ps)))

    @property
    def drives(self) -> bool:
        """Whether the chip drives them."""
        return bool(self.library.chip_drives(self.handle))

    @property
    def text(self) -> str:
        """All violations."""
        return str(self.library.chip_text(self.handle).decode())

    @property
    def bytes(self) -> Any:
        """The chip's 32 MiB."""
        return (ctypes.c_uint8 * (32 << 20)).from_address(self.library.chip_bytes(self.handle))


def chip(period_ps: int = 10_000, **others: int) -> Chip:
    """A chip before its first tick."""
    library = _library(_controller(64, 100.0))
    handle = ctypes.c_void_p(library.chip_new(ctypes.byref(_limits(others))))
    found = Chip(library, handle, period_ps)
    weakref.finalize(found, library.chip_delete, handle)
    return found


def _limits(others: Mapping[str, int]) -> Any:
    found = limits()
    for name, value in others.items():
        assert hasattr(found, name), name
        setattr(found, name, value)
    return found


@cache
def _library(path: Path) -> Any:
    library = ctypes.CDLL(str(path))
    for name in ("bench_new", "chip_new", "chip_bytes"):
        getattr(library, name).restype = ctypes.c_void_p
    for name in ("bench_text", "chip_text"):
        getattr(library, name).restype = ctypes.c_char_p
    return library


@cache
def _controller(bits: int, mhz: float) -> Path:
    return built(SdramController(bits, mhz))


def built(component: Any) -> Path:
    """Simulator of a component with the controller's ports, or of Verilog with a module ``top``."""
    verilog = component if isinstance(component, str) else written(component, "top")
    return build_library(verilog, "top", HARNESS, lambda _: "")
