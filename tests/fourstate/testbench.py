"""Verilog that puts a machine between the channels of memory and the host of ``testbench.v``."""

import re
from collections.abc import Iterable, Mapping
from random import Random

from lightmamba.device.sim.build import READ, READ_OPTIONAL, WRITE, WRITE_OPTIONAL
from lightmamba.hardware.machine.ports import Port

__all__ = ["between", "without_values"]

STORED = re.compile(r"^  reg (?:\[(\d+):0\] )?(\S+ *) ?\[(\d+):0\];", re.MULTILINE)
VALUE = re.compile(r"^(  reg (?:\[(\d+):0\] )?(?!\\\$auto)\S+ *) = [^;]*;", re.MULTILINE)
SIGNAL = re.compile(r"^  (input|output) (\[\d+:0\] )?(\w+);", re.MULTILINE)
IDLE = ("arvalid", "rready", "awvalid", "wvalid", "bready")  # of a master that is not there


def without_values(verilog: str, registers: Random | None, random: bool) -> str:
    """Verilog whose registers begin with unknown values; tables stay.

    ``registers`` draws what they begin with instead, and memory may be ``random``. An ``always @*``
    of a constant would never run.
    """

    def begins(found: re.Match[str]) -> str:
        if registers is None:
            return f"{found[1]};"
        bits = int(found[2] or 0) + 1
        return f"{found[1]} = {bits}'h{registers.getrandbits(bits):x};"

    def stored(found: re.Match[str]) -> str:
        module = verilog[found.end() : verilog.index("\nendmodule", found.end())]
        table = re.search(rf"^    {re.escape(found[2].strip())} ?\[0\] = ", module, re.MULTILINE)
        if table:
            return found[0]
        words = ", ".join(["$urandom"] * (int(found[1] or 0) // 32 + 1))
        return (
            f"{found[0]}\n  initial for (int n = 0; n <= {found[3]}; n = n + 1)"
            f" {found[2]}[n] = {{{words}}};"
        )

    if random:
        verilog = STORED.sub(stored, verilog)
    return VALUE.sub(begins, verilog).replace("always @*", "always_comb")


def between(
    verilog: str, ports: Iterable[Port], channels: Mapping[str, tuple[int, set[str]]], random: bool
) -> str:
    """``machine.vh`` for a machine.

    Parameters
    ----------
    verilog
        Of the machine, whose top is ``lightmamba``.
    ports
        Its masters.
    channels
        Bytes of each channel, and the ports that it answers: at most one that reads and one that
        writes.
    random
        Whether memory begins with random bytes, rather than unknown ones.
    """
    top = verilog[verilog.index("\nmodule lightmamba(") :]
    signals = SIGNAL.findall(top[: top.index("\nendmodule")])
    lines = [
        f"{'reg' if way == 'input' and name.startswith('host__') else 'wire'} {width}{name};"
        for way, width, name in signals if name not in ("clk", "rst")
    ]  # fmt: skip
    lines.append(f"lightmamba machine ({', '.join(f'.{name}({name})' for _, _, name in signals)});")
    for name, (size, names) in channels.items():
        given, width = {"clk": "clk", "rst": "rst", "watching": "watching", "stall": "stall"}, 0
        given |= dict.fromkeys(IDLE, "1'b0")
        for port in (port for port in ports if port.name in names):
            mine = [*READ, *READ_OPTIONAL] * bool(port.readers)
            mine += [*WRITE, *WRITE_OPTIONAL] * bool(port.writers)
            given |= {signal: f"{port.name}__{signal}" for signal in mine}
            width = port.bits // 8
        connected = ", ".join(f".{signal}({wire})" for signal, wire in given.items())
        lines.append(f'channel #("{name}", {width}, {size}, {random:d}) at_{name} ({connected});')
    sums = " + ".join(f"at_{name}.unknown" for name in channels)
    lines.append(f"function [31:0] found(input unused); found = {sums}; endfunction")
    cases = [
        f"{n}: if (store) at_{name}.bytes[at + n] = value; else value = at_{name}.bytes[at + n];"
        for n, name in enumerate(channels)
    ]
    lines += ["task access(input store); case (channel)", *cases, "endcase endtask"]
    return "\n".join(lines) + "\n"
