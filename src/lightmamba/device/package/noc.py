"""The network on chip of a Versal device: who reaches which memory controller, and how fast."""

from collections.abc import Mapping
from dataclasses import dataclass

from lightmamba.device.package.board import Controller
from lightmamba.device.package.design import Design, Interface

__all__ = ["PROCESSORS", "Link", "network"]

# Masters of the processing system in the network: interface of CIPS, its clock, its category.
PROCESSORS = (
    ("FPD_CCI_NOC_0", "fpd_cci_noc_axi0_clk", "ps_cci"),
    ("FPD_CCI_NOC_1", "fpd_cci_noc_axi1_clk", "ps_cci"),
    ("FPD_CCI_NOC_2", "fpd_cci_noc_axi2_clk", "ps_cci"),
    ("FPD_CCI_NOC_3", "fpd_cci_noc_axi3_clk", "ps_cci"),
    ("LPD_AXI_NOC_0", "lpd_axi_noc_clk", "ps_rpu"),
    ("PMC_NOC_AXI_0", "pmc_axi_noc_axi0_clk", "ps_pmc"),
)
PROCESSOR_MB = 500  # MB/s, each way, that a processor asks of a controller
FEW_MB = 10  # MB/s of what a lane writes: new keys and values
CONTROLLER_PORTS = 4


@dataclass(frozen=True)
class Link:
    """A way into a memory controller.

    Parameters
    ----------
    source : Interface or None
        None for the processors, which share one.
    out, into : int
        Number at the source's instance, and at the controller's and of the controller's own port.
    read_mb, write_mb : int
        MB/s that are asked for.
    """

    controller: Controller
    source: Interface | None
    out: int
    into: int
    read_mb: int
    write_mb: int


def network(design: Design) -> list[Link]:
    """Links of a design: one to each controller for the processors, then one per interface.

    Raises
    ------
    ValueError
        If a controller has fewer ports than masters.
    """
    named = {one.name: one for one in design.board.controllers}
    needed = {block.memory.controller for block in design.blocks}
    asked = _rates(design)
    wanted: list[tuple[str, Interface | None]] = [(n, None) for n in named if n in needed]
    for one in design.interfaces:
        (channel,) = one.channels
        wanted.append((design.block(channel).memory.controller, one))
    links = list[Link]()
    for name, source in wanted:
        into = sum(link.controller.name == name for link in links)
        if into == CONTROLLER_PORTS:
            raise ValueError(f"{name} has {CONTROLLER_PORTS} ports only")
        out = sum((link.source is None) == (source is None) for link in links)
        rates = (PROCESSOR_MB, PROCESSOR_MB) if source is None else asked[source.name]
        links.append(Link(named[name], source, out, into, *rates))
    return links


def _rates(design: Design) -> Mapping[str, tuple[int, int]]:
    """MB/s that each interface asks for, reads and writes.

    Lanes run in step, so each asks for what the slowest of their channels gives, and for little if
    it writes; what is left of a shared channel goes to the others, in equal parts to each direction
    of each.
    """
    target = design.artifact.target
    lanes = [one for one in design.interfaces if one.name.startswith("lane")]
    pace = min(target.channel_of(one.ports[0].name).attainable_gb_per_s for one in lanes)
    found = {one.name: (round(1000 * pace), FEW_MB * bool(one.write)) for one in lanes}
    for channel in target.channels:
        others = [
            one for one in design.interfaces
            if one.name not in found and channel.name in one.channels
        ]  # fmt: skip
        ways = sum(bool(one.read) + bool(one.write) for one in others)
        left = channel.attainable_gb_per_s - pace * sum(p.startswith("lane") for p in channel.ports)
        for one in others:
            each = max(1, round(1000 * left / ways))
            found[one.name] = (each if one.read else 0, each if one.write else 0)
    return found
