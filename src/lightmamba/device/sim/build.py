"""The simulator of an accelerator: its ports, registers and probes, bound to ``harness.cpp``."""

import re
from collections.abc import Iterable, Sequence
from pathlib import Path

from lightmamba.device.sim.library import FOLDER, build_library
from lightmamba.hardware.machine.ports import Port

__all__ = ["build_simulator"]

HARNESS = FOLDER / "harness.cpp"

# Signals that a port must have, and those that it may have.
READ = ("araddr", "arlen", "arvalid", "arready", "rdata", "rlast", "rvalid", "rready")
READ_OPTIONAL = ("arsize", "arburst", "arid", "rresp", "rid")
WRITE = (
    "awaddr", "awlen", "awvalid", "awready", "wdata", "wlast", "wvalid", "wready", "bvalid",
    "bready",
)  # fmt: skip
WRITE_OPTIONAL = ("awsize", "awburst", "awid", "wstrb", "bresp", "bid")
HOST = (
    "awaddr", "awvalid", "awready", "wdata", "wvalid", "wready", "bvalid", "bready",
    "araddr", "arvalid", "arready", "rdata", "rvalid", "rready",
)  # fmt: skip
HOST_OPTIONAL = ("wstrb", "bresp", "rresp")


def build_simulator(
    verilog: str,
    ports: Iterable[Port],
    probes: Iterable[tuple[str, int]] = (),
    *,
    top: str = "top",
    trace: bool = False,
    cache: Path | None = None,
    jobs: int = 2,
) -> Path:
    """Make the simulator of a design, or find it in the cache.

    Parameters
    ----------
    verilog
        Source text of all modules.
    ports
        AXI4 masters of the top level. Those with readers have ``{name}__ar*`` and ``{name}__r*``,
        those with writers ``{name}__aw*``, ``{name}__w*`` and ``{name}__b*``.
    probes
        Name and size in bytes of each ``probe_{name}__value``.
    top
        Name of the top module. It has ``clk``, ``rst``, ``interrupt`` and an AXI4-Lite slave
        ``host__*``.
    trace, cache, jobs
        As of :func:`lightmamba.device.sim.library.build_library`.

    Returns
    -------
    Path
        Shared object with the interface of ``harness.cpp``.

    Raises
    ------
    InputError
        If a tool is missing or fails.
    ValueError
        If the top level lacks a signal, or one has another width.
    """
    ports, probes = tuple(ports), tuple(probes)
    return build_library(
        verilog, top, HARNESS, lambda header: _design(header, ports, probes),
        (ports, probes, Path(__file__).read_bytes()),
        trace=trace, cache=cache, jobs=jobs,
    )  # fmt: skip


def _design(header: str, ports: Sequence[Port], probes: Sequence[tuple[str, int]]) -> str:
    """C++ that names the signals of a top level, from the header that Verilator made."""
    members = {  # Verilator rewrites double underscores, and words that C++ knows
        member.removeprefix("__SYM__").replace("___05F", "__"): (member, int(high) - int(low) + 1)
        for member, high, low in re.findall(r"VL_(?:IN|OUT)\w*\(&(\w+),(\d+),(\d+)", header)
    }
    lines: list[str] = []

    def bind(target: str, name: str, bits: int | None = None) -> None:
        if name not in members:
            raise ValueError(f"the top level has no {name}")
        member, width = members[name]
        if bits is not None and width != bits:
            raise ValueError(f"{name} has {width} bits, expected {bits}")
        lines.append(f"  {target} = signal(top.{member});")

    def bind_all(target: str, prefix: str, signals: Sequence[str], optional: Sequence[str]) -> None:
        for name in (*signals, *(n for n in optional if f"{prefix}{n}" in members)):
            bind(f"{target}.{name}", f"{prefix}{name}")

    for name in ("clk", "rst", "interrupt"):
        bind(f"clock.{name}", name, 1)
    bind_all("host", "host__", HOST, HOST_OPTIONAL)
    for n, port in enumerate(ports):
        prefix = f"{port.name}__"
        lines.append(f'  ports[{n}].name = "{port.name}", ports[{n}].bytes = {port.bits // 8};')
        if port.readers:
            bind_all(f"ports[{n}]", prefix, READ, READ_OPTIONAL)
            bind(f"ports[{n}].rdata", f"{prefix}rdata", port.bits)
        if port.writers:
            bind_all(f"ports[{n}]", prefix, WRITE, WRITE_OPTIONAL)
            bind(f"ports[{n}].wdata", f"{prefix}wdata", port.bits)
    for n, (name, size) in enumerate(probes):
        lines.append(f"  probes[{n}].bytes = {size};")
        bind(f"probes[{n}].valid", f"probe_{name}__valid", 1)
        bind(f"probes[{n}].value", f"probe_{name}__value", 8 * size)
    return DESIGN.format(ports=len(ports), probes=len(probes), lines="\n".join(lines))


DESIGN = """\
// Made by lightmamba.device.sim.build: where the signals of this top level lie.
#pragma once
#include "Vtop.h"
#include "signals.hpp"

namespace lightmamba {{

inline void connect(Vtop& top, Clock& clock, HostSignals& host, std::vector<PortSignals>& ports,
                    std::vector<ProbeSignals>& probes) {{
  ports.resize({ports});
  probes.resize({probes});
{lines}
}}

}}  // namespace lightmamba
"""
