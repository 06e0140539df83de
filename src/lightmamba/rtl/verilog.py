"""Verilog of a component: the same text on every run and every machine."""

import gc
import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from amaranth.back import rtlil, verilog

__all__ = ["written"]

YOSYS = "AMARANTH_USE_YOSYS"
_lock = threading.Lock()


class _Emitter(rtlil.ModuleEmitter):
    """Amaranth's, but a memory that begins as zeros is declared without contents.

    Nothing reads an entry before it was written, and the zeros of the state queues would be
    seventeen million bits each: minutes to write and to read, and UltraRAM takes no contents.
    """

    def emit_memory(self, cell_idx: int, cell: Any) -> None:
        if any(cell.init):
            super().emit_memory(cell_idx, cell)


@contextmanager
def _adjusted() -> Iterator[None]:
    """Our emitter and our order of yosys, which Amaranth takes no parameters for.

    They hold for the whole process, so one thread at a time is in here, and they are put back.
    Meanwhile there is no garbage collection: of millions of small objects nearly all live until the
    end, and looking for the others takes as long as making them.
    """
    with _lock:
        before, collecting = rtlil.ModuleEmitter, gc.isenabled()
        chosen = YOSYS in os.environ
        gc.disable()
        os.environ.setdefault(YOSYS, "builtin,system")
        rtlil.ModuleEmitter = _Emitter
        try:
            yield
        finally:
            rtlil.ModuleEmitter = before
            if collecting:
                gc.enable()
            if not chosen:
                del os.environ[YOSYS]


def written(component: Any, name: str) -> str:
    """Verilog of an Amaranth component with a signature, its top module called ``name``.

    The yosys that comes with Amaranth writes it, unless ``AMARANTH_USE_YOSYS`` says otherwise: the
    system's own, of whatever version, would give another text.
    """
    with _adjusted():
        text: str = verilog.convert(component, name=name, emit_src=False, strip_internal_attrs=True)
    return text
