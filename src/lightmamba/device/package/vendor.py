"""Sources for vendors' tools: the accelerator in a wrapper with the names that the tools expect.

The wrapper holds no logic but two registers of the reset. Every interface has all five channels;
those that the accelerator does not use are tied off, as tools recognize AXI4 by its channels.
"""

from collections.abc import Iterator
from dataclasses import dataclass

from lightmamba.arch.ports import ADDRESS_BITS, ID_BITS
from lightmamba.device.boards.xrt import SOURCE
from lightmamba.device.package.design import CONTROL, CONTROL_BYTES, KERNEL, Design, Interface
from lightmamba.hardware.machine.ports import Port
from lightmamba.hardware.synth.hierarchy import modules

__all__ = ["CORE_PORT", "core_verilog", "sources", "wrapper"]

CORE = f"{KERNEL}_core"  # what the module of the build is called inside a package
CORE_PORT = "{port}__{signal}"  # how the build names the signals of its ports
# Outputs that the accelerator does not drive: modifiable and bufferable, unprivileged data, plain.
TIED = {"cache": "4'b0011", "prot": "3'b000", "lock": "1'b0", "qos": "4'b0000"}
FORWARD = ("aw", "w", "ar")  # channels that a master drives, but for their ready
WRITE = ("aw", "w", "b")  # and the others read
ENDS = {"valid": 1, "ready": 1}  # of each channel
LITE = ("addr", "prot", "data", "strb", "resp", *ENDS)  # parts of AXI4-Lite


@dataclass(frozen=True)
class _Signal:
    channel: str
    part: str
    bits: int
    driven: bool  # by a master

    @property
    def name(self) -> str:
        return self.channel + self.part


def _axi(bits: int, address_bits: int) -> list[_Signal]:
    """AXI4 as the wrapper has it."""
    address = {
        "id": ID_BITS, "addr": address_bits, "len": 8, "size": 3, "burst": 2, "cache": 4,
        "prot": 3, "lock": 1, "qos": 4, **ENDS,
    }  # fmt: skip
    channels = {
        "aw": address, "w": {"data": bits, "strb": bits // 8, "last": 1, **ENDS},
        "b": {"id": ID_BITS, "resp": 2, **ENDS},
        "ar": address, "r": {"id": ID_BITS, "data": bits, "resp": 2, "last": 1, **ENDS},
    }  # fmt: skip
    return [
        _Signal(channel, part, bits, (channel in FORWARD) != (part == "ready"))
        for channel, parts in channels.items()
        for part, bits in parts.items()
    ]


def _axi_lite() -> list[_Signal]:
    """AXI4-Lite of the registers."""
    address_bits = (CONTROL_BYTES - 1).bit_length()
    return [signal for signal in _axi(32, address_bits) if signal.part in LITE]


def sources(design: Design, verilog: str) -> dict[str, str]:
    """Files of the package that no template makes, by their places in it.

    Parameters
    ----------
    design
        The build on its board.
    verilog
        Of the accelerator.
    """
    found = {
        f"rtl/{KERNEL}.v": core_verilog(verilog),
        "rtl/wrapper.v": wrapper(design, [name for *_, name in modules(verilog)[KERNEL].ports]),
    }
    if design.board.flow == "kernel":
        found["host/xrt.cpp"] = SOURCE.read_text(encoding="utf-8")
    return found


def core_verilog(verilog: str) -> str:
    """The Verilog of a build with its top module renamed, as the wrapper has its name.

    Raises
    ------
    ValueError
        If the build's top module is not there once.
    """
    head = f"module {KERNEL}("
    if verilog.count(f"\n{head}") + verilog.startswith(head) != 1:
        raise ValueError(f"the Verilog has no top module {KERNEL}, or more than one")
    return verilog.replace(head, f"module {CORE}(", 1)


def wrapper(design: Design, names: list[str]) -> str:
    """Verilog of the wrapper.

    Parameters
    ----------
    design
        The build on its board.
    names
        Ports of the build's top module.

    Raises
    ------
    ValueError
        If one of them is not connected, or something else is.
    """
    body, pins = list[str](), {"clk": "ap_clk", "rst": "reset[1]"}
    for signal in _axi_lite():
        if signal.part != "prot":
            pins[CORE_PORT.format(port="host", signal=signal.name)] = f"{CONTROL}_{signal.name}"
    pins["interrupt"] = "interrupt" if design.board.interrupt else ""
    for interface in design.interfaces:
        body += _connect(interface, design.board.address_bits, pins)
    if set(pins) != set(names):
        raise ValueError(f"pins of {KERNEL} that do not fit: {sorted(set(pins) ^ set(names))}")
    connections = ",\n".join(f"    .{port}({net})" for port, net in pins.items())
    ports = ",\n".join(f"  {line}" for line in _ports(design))
    return "\n".join([
        f"// {KERNEL} for {design.board.about}: names, widths and reset of the board's tools.",
        "`default_nettype none",
        f"module {KERNEL} (",
        ports,
        ");",
        "  reg [1:0] reset = 2'b11;",
        "  always @(posedge ap_clk) reset <= {reset[0], ~ap_rst_n};",
        *(f"  {line}" for line in body),
        f"  {CORE} core (",
        connections,
        "  );",
        "endmodule",
        "`default_nettype wire",
        "",
    ])  # fmt: skip


def _ports(design: Design) -> Iterator[str]:
    """Declarations of the ports; block designs read the attributes before them."""
    marked = design.board.flow != "kernel"  # an RTL kernel is described by its packaging script

    def single(name: str, kind: str, pin: str, about: str, *, shown: bool = marked) -> str:
        """A port of one bit with what the tools have to know of it."""
        way = "output" if name == "interrupt" else "input"
        marks = (
            f'(* X_INTERFACE_INFO = "xilinx.com:signal:{kind}:1.0 {name} {pin}" *)\n'
            f'  (* X_INTERFACE_PARAMETER = "{about}" *)\n  '
        )
        return f"{marks if shown else ''}{way} wire {name}"

    buses = ":".join(design.buses)
    yield single("ap_clk", "clock", "CLK", f"ASSOCIATED_BUSIF {buses}, ASSOCIATED_RESET ap_rst_n")
    yield single("ap_rst_n", "reset", "RST", "POLARITY ACTIVE_LOW")
    if design.board.interrupt:
        yield single("interrupt", "interrupt", "INTERRUPT", "SENSITIVITY LEVEL_HIGH", shown=True)
    address_bits = design.board.address_bits
    groups = [(CONTROL, _axi_lite(), ("output", "input"), "")]
    for one in design.interfaces:
        about = (
            f"XIL_INTERFACENAME {one.bus}, PROTOCOL AXI4, DATA_WIDTH {one.bits}, "
            f"ADDR_WIDTH {address_bits}, ID_WIDTH {ID_BITS}, "
            f"MAX_BURST_LENGTH {design.artifact.arch.burst_beats}, SUPPORTS_NARROW_BURST 0, "
            f"READ_WRITE_MODE {one.mode}"
        )
        groups.append((one.bus, _axi(one.bits, address_bits), ("input", "output"), about))
    for bus, signals, ways, about in groups:
        for n, signal in enumerate(signals):
            what = f"xilinx.com:interface:aximm:1.0 {bus} {signal.name.upper()}"
            mark = f'(* X_INTERFACE_INFO = "{what}" *)\n  '
            if n == 0 and about:
                mark = f'(* X_INTERFACE_PARAMETER = "{about}" *)\n  {mark}'
            width = f"[{signal.bits - 1}:0] " if signal.bits > 1 else ""
            line = f"{ways[signal.driven]} wire {width}{bus}_{signal.name}"
            yield (mark if marked else "") + line


def _connect(interface: Interface, address_bits: int, pins: dict[str, str]) -> list[str]:
    """Wires and assignments of what is tied off or widened; adds the pins of the accelerator."""
    ties, wires = list[str](), list[str]()
    for signal in _axi(interface.bits, address_bits):
        port: Port | None = interface.write if signal.channel in WRITE else interface.read
        outside = f"{interface.bus}_{signal.name}"
        if signal.part in TIED:
            ties.append(f"assign {outside} = {TIED[signal.part]};")
        elif port is None:
            if signal.driven:
                ties.append(f"assign {outside} = {{{signal.bits}{{1'b0}}}};")
        else:
            inner = outside
            if signal.part == "addr":
                inner, more = f"{interface.name}_{signal.name}", address_bits - ADDRESS_BITS
                wires.append(f"wire [{ADDRESS_BITS - 1}:0] {inner};")
                ties.append(f"assign {outside} = {{{{{more}{{1'b0}}}}, {inner}}};")
            pins[CORE_PORT.format(port=port.name, signal=signal.name)] = inner
    return [*wires, *ties]
