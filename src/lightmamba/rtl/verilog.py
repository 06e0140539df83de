"""Verilog of a component: the same text on every run and every machine."""

import os
from typing import Any
from unittest.mock import patch

from amaranth.back import rtlil, verilog

__all__ = ["written"]


class _Emitter(rtlil.ModuleEmitter):
    """Amaranth's, but a memory that begins as zeros is declared without contents.

    Nothing reads an entry before it was written, and the zeros of the state queues would be
    seventeen million bits each: minutes to write and to read, and UltraRAM takes no contents.
    """

    def emit_memory(self, cell_idx: int, cell: Any) -> None:
        if any(cell.init):
            super().emit_memory(cell_idx, cell)


def written(component: Any, name: str) -> str:
    """Verilog of an Amaranth component with a signature, its top module called ``name``.

    The yosys that comes with Amaranth writes it, unless ``AMARANTH_USE_YOSYS`` says otherwise: the
    system's own, of whatever version, would give another text.
    """
    os.environ.setdefault("AMARANTH_USE_YOSYS", "builtin,system")
    with patch.object(rtlil, "ModuleEmitter", _Emitter):
        text: str = verilog.convert(component, name=name, emit_src=False, strip_internal_attrs=True)
    return text
