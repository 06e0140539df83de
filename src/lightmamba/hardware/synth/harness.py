"""A test frame that gives a design with hundreds of ports four pins."""

from collections.abc import Iterator
from dataclasses import dataclass

from lightmamba.hardware.synth.hierarchy import Ports, modules

__all__ = ["NAME", "Harness"]

NAME = "harness"
FAN_IN = 4  # of the LUTs that join the outputs


@dataclass(frozen=True)
class Harness:
    """Registers around a module: its inputs are a shift register, its outputs are kept and joined.

    Every path of the module begins and ends in a register, and nothing of it can be left out: each
    output bit reaches the pin ``o``, each input bit comes from the pin ``i``.

    Parameters
    ----------
    top : str
        The module; it has ``clk`` and ``rst``.
    ports : tuple of (direction, width, name)
    """

    top: str
    ports: Ports

    @staticmethod
    def of(verilog: str, top: str) -> "Harness":
        """Frame for a module of a text."""
        return Harness(top, modules(verilog)[top].ports)

    @property
    def inputs(self) -> int:
        """Bits of the shift register."""
        return sum(
            width
            for way, width, name in self.ports
            if way == "input" and name not in ("clk", "rst")
        )

    @property
    def levels(self) -> tuple[int, ...]:
        """Registers of each level between the outputs and the pin."""
        counts = [sum(width for way, width, _ in self.ports if way == "output")]
        while counts[-1] > 1:
            counts.append(-(-counts[-1] // FAN_IN))
        return tuple(counts)

    @property
    def registers(self) -> tuple[str, ...]:
        """Names of the frame's registers."""
        return ("reset", "given", *(f"level{n}" for n in range(len(self.levels))))

    @property
    def ff(self) -> int:
        """Flip-flops that the frame takes; the reset has one too."""
        return 1 + self.inputs + sum(self.levels)

    @property
    def lut(self) -> int:
        """LUTs that the frame takes."""
        return sum(self.levels[1:])

    @property
    def verilog(self) -> str:
        """The frame as a module named :data:`NAME`."""
        return "\n".join(self._lines()) + "\n"

    def _lines(self) -> Iterator[str]:
        yield f"module {NAME} (input clk, input rst, input i, output o);"
        yield "reg reset;"
        yield f"reg [{self.inputs - 1}:0] given;"
        yield f"wire [{self.levels[0] - 1}:0] outputs;"
        yield "always @(posedge clk) begin reset <= rst; given <= {given, i}; end"
        source = "outputs"
        for n, count in enumerate(self.levels):
            yield f"reg [{count - 1}:0] level{n};"
            for bit in range(count if n else 0):
                high = min(FAN_IN * (bit + 1), self.levels[n - 1]) - 1
                yield f"always @(posedge clk) level{n}[{bit}] <= ^{source}[{high}:{FAN_IN * bit}];"
            if not n:
                yield "always @(posedge clk) level0 <= outputs;"
            source = f"level{n}"
        yield f"assign o = {source}[0];"
        yield f"{self.top} machine ("
        yield ",\n".join(self._connections())
        yield ");"
        yield "endmodule"

    def _connections(self) -> Iterator[str]:
        at = {"input": 0, "output": 0}
        vectors = {"input": "given", "output": "outputs"}
        for way, width, name in self.ports:
            if name in ("clk", "rst"):
                yield f"  .{name}({'clk' if name == 'clk' else 'reset'})"
                continue
            low = at[way]
            at[way] += width
            yield f"  .{name} ({vectors[way]}[{low + width - 1}:{low}])"
