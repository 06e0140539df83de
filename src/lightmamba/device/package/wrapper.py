"""The wrapper: the accelerator with the names, widths and reset that the vendor's tools expect.

It holds no logic but two registers of the reset. Every interface has all five channels; those
that the accelerator does not use are tied off, as tools recognize AXI4 by its channels.
"""

from collections.abc import Iterator
from dataclasses import dataclass

from lightmamba.arch.ports import ADDRESS_BITS, ID_BITS
from lightmamba.device.package.design import CONTROL, CONTROL_BYTES, KERNEL, Design, Interface
from lightmamba.hardware.machine.ports import Port

__all__ = ["CORE", "CORE_PORT", "core_verilog", "signals", "wrapper"]

CORE = f"{KERNEL}_core"  # what the module of the build is called inside a package
CORE_PORT = "{port}__{signal}"  # how the build names the signals of its ports
# Outputs that the accelerator does not drive: modifiable and bufferable, unprivileged data, plain.
TIED = {"cache": (4, "4'b0011"), "prot": (3, "3'b000"), "lock": (1, "1'b0"), "qos": (4, "4'b0000")}
LITE = {  # of AXI4-Lite: direction and width
    "awaddr": ("input", (CONTROL_BYTES - 1).bit_length()), "awprot": ("input", 3),
    "awvalid": ("input", 1), "awready": ("output", 1),
    "wdata": ("input", 32), "wstrb": ("input", 4), "wvalid": ("input", 1),
    "wready": ("output", 1),
    "bresp": ("output", 2), "bvalid": ("output", 1), "bready": ("input", 1),
    "araddr": ("input", (CONTROL_BYTES - 1).bit_length()), "arprot": ("input", 3),
    "arvalid": ("input", 1), "arready": ("output", 1),
    "rdata": ("output", 32), "rresp": ("output", 2), "rvalid": ("output", 1),
    "rready": ("input", 1),
}  # fmt: skip
UNUSED_LITE = ("awprot", "arprot")
READ, WRITE = ("ar", "r"), ("aw", "w", "b")


@dataclass(frozen=True)
class _Signal:
    name: str
    direction: str
    bits: int


def _address(channel: str, bits: int) -> Iterator[_Signal]:
    widths = {"id": ID_BITS, "addr": bits, "len": 8, "size": 3, "burst": 2}
    widths |= {name: width for name, (width, _) in TIED.items()}
    for name, width in (widths | {"valid": 1}).items():
        yield _Signal(channel + name, "output", width)
    yield _Signal(f"{channel}ready", "input", 1)


def signals(interface: Interface, address_bits: int) -> list[_Signal]:
    """All signals of a master, as the wrapper has them."""
    data = interface.bits
    return [
        *_address("aw", address_bits),
        _Signal("wdata", "output", data), _Signal("wstrb", "output", data // 8),
        _Signal("wlast", "output", 1), _Signal("wvalid", "output", 1),
        _Signal("wready", "input", 1),
        _Signal("bid", "input", ID_BITS), _Signal("bresp", "input", 2),
        _Signal("bvalid", "input", 1), _Signal("bready", "output", 1),
        *_address("ar", address_bits),
        _Signal("rid", "input", ID_BITS), _Signal("rdata", "input", data),
        _Signal("rresp", "input", 2), _Signal("rlast", "input", 1),
        _Signal("rvalid", "input", 1), _Signal("rready", "output", 1),
    ]  # fmt: skip


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


def wrapper(design: Design) -> str:
    """Verilog of the wrapper."""
    body, connections = list[str](), {"clk": "ap_clk", "rst": "reset[1]"}
    for name in LITE:
        if name not in UNUSED_LITE:
            connections[CORE_PORT.format(port="host", signal=name)] = f"{CONTROL}_{name}"
    interrupt = "interrupt" if design.board.interrupt else ""
    connections["interrupt"] = interrupt
    for interface in design.interfaces:
        ties, wires, nets = _connect(interface, design.board.address_bits)
        body += [*wires, *ties]
        connections |= nets
    pins = ",\n".join(f"    .{port}({net})" for port, net in connections.items())
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
        pins,
        "  );",
        "endmodule",
        "`default_nettype wire",
        "",
    ])  # fmt: skip


def _ports(design: Design) -> Iterator[str]:
    """Declarations of the ports; block designs read the attributes before them."""
    marked = design.board.flow != "kernel"  # an RTL kernel is described by its packaging script

    def line(signal: _Signal, prefix: str) -> str:
        width = f"[{signal.bits - 1}:0] " if signal.bits > 1 else ""
        return f"{signal.direction} wire {width}{prefix}{signal.name}"

    if marked:
        buses = ":".join(design.buses)
        yield (
            '(* X_INTERFACE_INFO = "xilinx.com:signal:clock:1.0 ap_clk CLK" *)\n'
            f'  (* X_INTERFACE_PARAMETER = "ASSOCIATED_BUSIF {buses}, ASSOCIATED_RESET ap_rst_n" *)'
            "\n  input wire ap_clk"
        )
        yield (
            '(* X_INTERFACE_INFO = "xilinx.com:signal:reset:1.0 ap_rst_n RST" *)\n'
            '  (* X_INTERFACE_PARAMETER = "POLARITY ACTIVE_LOW" *)\n  input wire ap_rst_n'
        )
    else:
        yield "input wire ap_clk"
        yield "input wire ap_rst_n"
    if design.board.interrupt:
        yield (
            '(* X_INTERFACE_INFO = "xilinx.com:signal:interrupt:1.0 interrupt INTERRUPT" *)\n'
            '  (* X_INTERFACE_PARAMETER = "SENSITIVITY LEVEL_HIGH" *)\n  output wire interrupt'
        )
    groups = [(CONTROL, [_Signal(n, d, b) for n, (d, b) in LITE.items()], "")]
    for interface in design.interfaces:
        about = (
            f"XIL_INTERFACENAME {interface.bus}, PROTOCOL AXI4, DATA_WIDTH {interface.bits}, "
            f"ADDR_WIDTH {design.board.address_bits}, ID_WIDTH {ID_BITS}, "
            f"MAX_BURST_LENGTH {design.artifact.arch.burst_beats}, SUPPORTS_NARROW_BURST 0, "
            f"READ_WRITE_MODE {interface.mode}"
        )
        groups.append((interface.bus, signals(interface, design.board.address_bits), about))
    for bus, members, about in groups:
        for n, signal in enumerate(members):
            what = f"xilinx.com:interface:aximm:1.0 {bus} {signal.name.upper()}"
            mark = f'(* X_INTERFACE_INFO = "{what}" *)\n  '
            if n == 0 and about:
                mark = f'(* X_INTERFACE_PARAMETER = "{about}" *)\n  {mark}'
            yield (mark if marked else "") + line(signal, f"{bus}_")


def _connect(
    interface: Interface, address_bits: int
) -> tuple[list[str], list[str], dict[str, str]]:
    """Assignments of what is tied off or widened, their wires, and the pins of the accelerator."""
    ties, wires, nets = list[str](), list[str](), dict[str, str]()
    by_channel: dict[str, Port | None] = dict.fromkeys(READ, interface.read)
    by_channel |= dict.fromkeys(WRITE, interface.write)
    for signal in signals(interface, address_bits):
        channel = next(c for c in ("aw", "ar", "w", "b", "r") if signal.name.startswith(c))
        port, outside = by_channel[channel], f"{interface.bus}_{signal.name}"
        kind = signal.name.removeprefix(channel)
        if channel in ("aw", "ar") and kind in TIED:
            ties.append(f"assign {outside} = {TIED[kind][1]};")
        elif port is None:
            if signal.direction == "output":
                ties.append(f"assign {outside} = {{{signal.bits}{{1'b0}}}};")
        elif kind == "addr":
            inner = f"{interface.name}_{signal.name}"
            wires.append(f"wire [{ADDRESS_BITS - 1}:0] {inner};")
            ties.append(
                f"assign {outside} = {{{{{address_bits - ADDRESS_BITS}{{1'b0}}}}, {inner}}};"
            )
            nets[CORE_PORT.format(port=port.name, signal=signal.name)] = inner
        else:
            nets[CORE_PORT.format(port=port.name, signal=signal.name)] = outside
    return ties, wires, nets
