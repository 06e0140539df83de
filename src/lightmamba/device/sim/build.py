"""The simulator of an accelerator: its ports, registers and probes, bound to ``harness.cpp``."""

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from lightmamba.device.sim.library import FOLDER, build_library
from lightmamba.hardware.machine.ports import Port

__all__ = ["Names", "build_simulator"]

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


@dataclass(frozen=True)
class Names:
    """How a top level names its signals; by default as ``hardware/rtl/top.py`` does.

    Parameters
    ----------
    port, host : str
        Prefix of the signals of a master (with its name) and of the AXI4-Lite slave.
    clock, reset : str
    reset_low : bool
        Whether the reset is active at 0.
    interrupt : str
        Empty for a top level without one.
    """

    port: str = "{port}__"
    host: str = "host__"
    clock: str = "clk"
    reset: str = "rst"
    reset_low: bool = False
    interrupt: str = "interrupt"


def build_simulator(
    verilog: str,
    ports: Iterable[Port],
    probes: Iterable[tuple[str, int]] = (),
    *,
    top: str = "top",
    names: Names | None = None,
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
    names
        Other names of its signals.
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
    ports, probes, names = tuple(ports), tuple(probes), names or Names()
    return build_library(
        verilog, top, HARNESS, lambda header: _design(header, ports, probes, names),
        (names, ports, probes, Path(__file__).read_bytes()),
        trace=trace, cache=cache, jobs=jobs,
    )  # fmt: skip


def _design(
    header: str, ports: Sequence[Port], probes: Sequence[tuple[str, int]], names: Names
) -> str:
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

    bind("clock.clk", names.clock, 1)
    bind("clock.rst", names.reset, 1)
    lines.append(f"  clock.reset_low = {str(names.reset_low).lower()};")
    if names.interrupt:
        bind("clock.interrupt", names.interrupt, 1)
    bind_all("host", names.host, HOST, HOST_OPTIONAL)
    for n, port in enumerate(ports):
        prefix = names.port.format(port=port.name)
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
