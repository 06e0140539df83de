"""Draw the diagrams of the docs: ``python -m bench.diagrams``."""

from collections.abc import Callable
from pathlib import Path

from bench.drawing import Drawing

__all__ = ["DIAGRAMS", "DOCS"]

DOCS = Path(__file__).parents[1] / "docs"


def flow() -> str:
    """The way from a checkpoint to tokens and to a bitstream."""
    d = Drawing(
        520, 478,
        "Flow: a checkpoint is quantized to one file of integers; the CPU engine runs that file; "
        "a compiler turns it into a build, which is simulated bit-exact with the engine, "
        "synthesized, and packaged for a board",
    )  # fmt: skip
    d.box(10, 14, 150, 78, "data", "checkpoint", ["Mamba2 or hybrid,", "floating point"])
    d.box(185, 14, 150, 78, "step", "quantize", ["a recipe: rotations,", "GPTQ, formats"])
    d.box(360, 14, 150, 78, "data", "model file", ["4-bit integers,", "tokenizer, recipe"])
    d.arrow((160, 53), (183, 53))
    d.arrow((335, 53), (358, 53))
    d.text(260, 112, "integers from here on", "soft")
    d.box(10, 140, 150, 78, "run", "CPU engine", ["C++ kernels;", "numpy defines them"])
    d.box(185, 140, 150, 78, "step", "estimate, explore", ["speed, area, energy", "in seconds"])
    d.box(360, 140, 150, 78, "step", "compile", ["for a board:", "lanes, memories"])
    d.arrow((415, 92), (415, 122), (85, 122), (85, 138))
    d.arrow((455, 92), (455, 138))
    d.arrow((360, 179), (337, 179))
    d.box(360, 262, 150, 78, "data", "build", ["Verilog, images,", "program"])
    d.arrow((435, 218), (435, 260))
    d.arrow((85, 218), (85, 386), both=True)
    d.box(20, 276, 130, 50, "paper", "bit-exact", ["in every value"])
    d.box(10, 388, 150, 78, "run", "simulate", ["Verilator, cycle", "by cycle"])
    d.box(185, 388, 150, 78, "step", "synth", ["area and timing", "(yosys, nextpnr)"])
    d.box(360, 388, 150, 78, "later", "package", ["ULX3S bitstream;", "not run on a board"])
    d.arrow((435, 340), (435, 386))
    d.arrow((360, 301), (260, 301), (260, 386))
    d.arrow((260, 358), (130, 358), (130, 386))
    return d.svg()


def ulx3s_system() -> str:
    """The parts of the system on a ULX3S and the chips around the FPGA."""
    d = Drawing(
        520, 400,
        "The system on a ULX3S: in the FPGA the accelerator, a bridge from the serial line, a "
        "shared port to the SDRAM controller, and a PLL; on the board a USB bridge, an SDRAM and "
        "an oscillator; outside the host",
    )  # fmt: skip
    d.box(10, 20, 110, 70, "paper", "host", ["lightmamba", "driver"])
    d.box(195, 20, 130, 70, "run", "USB bridge", ["FT231X,", "3 Mbaud"])
    d.arrow((120, 55), (193, 55), both=True)
    d.text(157, 46, "USB")
    d.area(10, 124, 500, 178, "later")
    d.text(22, 144, "FPGA (LFE5U-85F)", "bold start soft")
    d.box(195, 156, 130, 52, "step", "serial bridge", ["checks, registers"])
    d.arrow((260, 90), (260, 154), both=True)
    d.text(268, 112, "serial line", "start")
    d.box(370, 156, 130, 130, "step", "accelerator", ["one lane of", "16 weights,", "60 MHz"])
    d.arrow((325, 182), (368, 182), both=True)
    d.box(195, 234, 130, 52, "step", "SDRAM control", ["100 MHz, queues"])
    d.arrow((260, 208), (260, 232), both=True)
    d.arrow((370, 260), (327, 260), both=True)
    d.box(20, 200, 130, 52, "step", "PLL", ["25 to 60, 100 MHz"])
    d.box(195, 334, 130, 52, "data", "SDRAM", ["32 MB, 16 bits"])
    d.arrow((260, 286), (260, 332), both=True)
    d.text(268, 322, "weights, state, logits", "start")
    d.box(20, 334, 130, 52, "run", "oscillator", ["25 MHz"])
    d.arrow((85, 334), (85, 254))
    return d.svg()


def kv_rows() -> str:
    """The rows of a head on a U280: exponents of 256 tokens, then their keys and values."""
    d = Drawing(
        520, 300,
        "Rows of one head of 128 channels on a U280: row 0 has the exponents of 256 tokens, rows 1 "
        "to 32 have keys and values of eight tokens each, and row 33 has the next exponents. Every "
        "row is one beat from each of the 32 memory channels",
    )  # fmt: skip
    left, wide = 84, 53
    d.text(left + 4 * wide, 22, "memory channels, 64 bytes of a row on each", "soft")
    for n, name in enumerate(("0", "1", "2", "3", "…", "29", "30", "31")):
        d.text(left + wide * (n + 0.5), 44, name, "bold")
    rows = [
        ("row 0", "step", "exponents of tokens 0 to 255"),
        ("row 1", "data", "keys and values of tokens 0 to 7"),
        ("…", "data", "…"),
        ("row 32", "data", "keys and values of tokens 248 to 255"),
        ("row 33", "step", "exponents of tokens 256 to 511"),
    ]
    for row, (name, color, what) in enumerate(rows):
        y = 56 + 46 * row
        d.area(left, y, 8 * wide, 38, color)
        for n in range(1, 8):
            x = left + wide * n
            d.line(x, y, x, y + 6, "soft", 1)
            d.line(x, y + 32, x, y + 38, "soft", 1)
        d.text(10, y + 24, name, "start")
        d.text(left + 4 * wide, y + 24, what)
    return d.svg()


DIAGRAMS: dict[str, Callable[[], str]] = {
    "flow.svg": flow,
    "howto/ulx3s-system.svg": ulx3s_system,
    "explanation/kv-rows.svg": kv_rows,
}


def main() -> None:
    for name, draw in DIAGRAMS.items():
        (DOCS / name).write_text(draw(), encoding="utf-8")
        print(f"docs/{name}")


if __name__ == "__main__":
    main()
