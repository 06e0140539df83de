"""UltraScale+ through yosys: cells and longest path of every block."""

import hashlib
import json
import re
import tempfile
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor, as_completed
from dataclasses import asdict
from pathlib import Path

from lightmamba.arch.amount import DISTRIBUTED, Amount, memory_cells
from lightmamba.common.tools import cache_folder
from lightmamba.hardware.synth.hierarchy import TOP, Block, Ports, blocks, whole
from lightmamba.hardware.synth.result import BlockReport, LongestPath, Synthesis
from lightmamba.hardware.synth.tools import Tool, find_tool

__all__ = ["synthesize", "synthesize_block"]

CACHE = "synthesis"  # folder of the user's cache
FOLDER = Path(__file__).parent
SOURCES = (FOLDER / "xcup_cells.v", FOLDER / "xcup_memory.v")
STEP = "synth_xilinx -family xcup -nowidelut -flatten -noiopad -nobram -top top -run"
# Two departures from plain synth_xilinx. Large memories are cut out before they are mapped. And a
# register before a multiplier stays one, where yosys would make it the end of a shift register:
# a vendor's tool takes it into the DSP. What rtl/dsp.py instantiates has its registers in it.
SCRIPT = f"""
read_verilog block.v
read_verilog -lib xcup_memory.v
{STEP} begin:map_memory
select -set big t:$mem_v2 r:SIZE>{DISTRIBUTED} %i r:RD_CLK_ENABLE>0 %i
chtype -set big_memory @big
select -set plain t:DSP48E2 r:MREG=0 %i
select -set factors @plain %ci2 t:$*dff* %i
setattr -set keep 1 @factors
tee -q -o memories.txt dump t:big_memory
{STEP} map_memory:check
tee -q -o cells.json stat -json
read_verilog -overwrite -lib -specify xcup_cells.v
chtype -set DSP48E2_registered t:DSP48E2 r:MREG=1 %i
techmap -map xcup_memory.v -map cut.v
tee -q -o path.txt sta
"""
LUTS = {  # that a cell takes; a LUT6 may yet hold two small functions, which yosys does not count
    **{f"LUT{n}": 1 for n in range(1, 7)},
    "INV": 1, "SRL16E": 1, "SRLC32E": 1, "RAM32M16": 8, "RAM64M8": 8, "RAM32M": 4, "RAM64M": 4,
    "RAM32X1D": 2, "RAM64X1D": 2, "RAM128X1D": 4, "RAM256X1D": 8, "RAM32X1S": 1, "RAM64X1S": 1,
    "RAM128X1S": 2, "RAM256X1S": 4, "RAM512X1S": 8, "RAM64X8SW": 8, "RAM32X16DR8": 8,
}  # fmt: skip
FLIP_FLOPS = ("FDRE", "FDSE", "FDCE", "FDPE")
FREE = ("$scopeinfo", "BUFG", "CARRY4", "big_memory", "VCC", "GND")  # counted elsewhere, or nowhere


def synthesize(
    verilog: str,
    top: str,
    *,
    flat: bool = False,
    jobs: int = 1,
    cache: Path | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> Synthesis:
    """Synthesize a machine block by block, each distinct block once.

    Parameters
    ----------
    verilog, top
        What :func:`lightmamba.hardware.rtl.top.to_verilog` gives, and the name of its top module.
    flat
        As one block instead: paths between blocks are seen, but only small machines finish.
    jobs
        Blocks that are synthesized at a time.
    cache
        Folder to keep results in, by default in the user's cache.
    progress
        Called with (done, total).

    Raises
    ------
    InputError
        If yosys is missing or fails.
    """
    tool = find_tool("yosys")
    groups: dict[str, list[Block]] = defaultdict(list)
    for block in [whole(verilog, top)] if flat else blocks(verilog, top):
        groups[block.verilog].append(block)
    distinct = sorted((group[0] for group in groups.values()), key=lambda b: -len(b.verilog))
    found: dict[str, tuple[Amount, LongestPath]] = {}
    with ThreadPoolExecutor(jobs) as pool:
        waiting = {pool.submit(synthesize_block, b, tool, cache): b.verilog for b in distinct}
        for future in as_completed(waiting):
            found[waiting[future]] = future.result()
            if progress is not None:
                progress(len(found), len(distinct))
    reports = [
        BlockReport(_common(block.name for block in group), len(group), *found[text])
        for text, group in groups.items()
    ]
    return Synthesis(tool.version, tuple(reports))


def synthesize_block(
    block: Block, tool: Tool, cache: Path | None = None
) -> tuple[Amount, LongestPath]:
    """Cells and longest path of one block, from the cache if it was seen before."""
    key = hashlib.sha256()
    for part in (tool.version, SCRIPT, block.verilog, *(file.read_text() for file in SOURCES)):
        key.update(part.encode())
    kept = cache_folder(CACHE, cache) / f"{key.hexdigest()[:24]}.json"
    if not kept.is_file():
        with tempfile.TemporaryDirectory() as work:
            amount, path = _run(block, tool, Path(work))
        fresh = Path(tempfile.mkstemp(dir=kept.parent)[1])
        fresh.write_text(json.dumps({"amount": asdict(amount), "path": asdict(path)}))
        fresh.replace(kept)
    values = json.loads(kept.read_text())
    path = LongestPath(values["path"]["ns"], tuple(values["path"]["cells"]))
    return Amount(**values["amount"]), path


def _run(block: Block, tool: Tool, work: Path) -> tuple[Amount, LongestPath]:
    (work / "block.v").write_text(block.verilog)
    (work / "script.ys").write_text(SCRIPT)
    (work / "cut.v").write_text("".join(_border(*cut) for cut in block.cut.items()))
    for source in SOURCES:
        (work / source.name).write_text(source.read_text())
    tool.run(["-q", "-s", "script.ys"], work)
    stat = json.loads((work / "cells.json").read_text())
    types = stat["modules"][f"\\{TOP}"]["num_cells_by_type"]
    amount = _amount(types, set(block.cut)) + _memories((work / "memories.txt").read_text())
    return amount, _path((work / "path.txt").read_text())


def _border(name: str, ports: Ports) -> str:
    """For ``sta``: a block that was cut out, as registers at its ports."""
    lines = [f"  {way} [{width - 1}:0] {port} ;" for way, width, port in ports]
    for n, (way, width, port) in enumerate(ports):
        bit = f"{port} [i]"
        if port != "clk":
            ends = f".D({bit})" if way == "input" else f".D(1'b0), .Q({bit})"
            lines.append(
                f"  for (i = 0; i < {width}; i = i + 1) "
                f"FDRE r{n} (.C(clk), .CE(1'b1), .R(1'b0), {ends});"
            )
    names = ", ".join(f"{port} " for _, _, port in ports)
    return "\n".join([f"module {name} ({names});", "  genvar i;", *lines, "endmodule", ""])


def _amount(types: Mapping[str, int], cut: Iterable[str]) -> Amount:
    """Cells of each kind, but for the large memories."""
    known = {*LUTS, *FLIP_FLOPS, "DSP48E2", *FREE, *cut}
    if unknown := sorted(set(types) - known):
        raise ValueError(f"it is not known what these cells take: {', '.join(unknown)}")
    return Amount(
        lut=sum(n * LUTS.get(name, 0) for name, n in types.items()),
        ff=sum(types.get(name, 0) for name in FLIP_FLOPS),
        dsp=types.get("DSP48E2", 0),
    )


def _memories(dump: str) -> Amount:
    """Cells of the large memories, from their parameters as yosys dumps them."""
    found = Counter[tuple[int, ...]]()
    for cell in dump.split("\n  cell \\big_memory ")[1:]:
        values = dict(re.findall(r"parameter (?:signed )?\\(SIZE|WIDTH|RD_PORTS) (\d+)", cell))
        found[int(values["SIZE"]), int(values["WIDTH"]), int(values["RD_PORTS"])] += 1
    return sum((memory_cells(*shape).times(n) for shape, n in found.items()), Amount())


def _path(text: str) -> LongestPath:
    """The latest arrival that ``sta`` found; 0 ns in a block without paths.

    ``sta`` goes from the end to the beginning, and names behind a cell the net that enters it.
    """
    latest = re.search(r"^Latest arrival time in '\S+' is (\d+):", text, re.MULTILINE)
    if latest is None:
        return LongestPath(0.0, ())
    steps = text[latest.end() :].split("Arrival histogram")[0]
    cells, leaves = [], ""
    for name, pins, enters in re.findall(
        r"^ +\d+ (\S+ )?\((.*)\)\n(?:Warning.*\n)?(?: {8,}(\S.*)\n)?", steps, re.MULTILINE
    ):
        net = leaves if leaves or name.startswith("$") else name.strip()
        if not pins.startswith("BUFG") and net != "\\clk":
            cells.append(f"{pins} {net.removeprefix(chr(92))}".strip())
        leaves = enters
    return LongestPath(int(latest[1]) / 1000, tuple(reversed(cells)))


def _common(names: Iterable[str]) -> str:
    """One name for all: their numbers become a star where they differ."""
    first, *rest = names
    return re.sub(r"\d+$", "*", first) if rest else first
