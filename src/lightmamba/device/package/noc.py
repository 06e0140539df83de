"""The network on chip of a Versal device: who reaches which memory controller, and how fast."""

from collections.abc import Mapping
from dataclasses import dataclass

from lightmamba.device.package.board import Controller
from lightmamba.device.package.design import Design, Interface

__all__ = ["PROCESSORS", "Link", "Network", "network"]

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
    out, into, port : int
        Number at the source's instance, at the controller's, and of the controller's own port.
    read_mb, write_mb : int
        MB/s that are asked for.
    """

    controller: Controller
    source: Interface | None
    out: int
    into: int
    port: int
    read_mb: int
    write_mb: int


@dataclass(frozen=True)
class Network:
    """All links, those of the processors first."""

    links: tuple[Link, ...]

    def of(self, controller: Controller) -> tuple[Link, ...]:
        """Links into a controller, by their number there."""
        return tuple(link for link in self.links if link.controller == controller)

    @property
    def controllers(self) -> tuple[Controller, ...]:
        """Controllers that something is linked to."""
        return tuple({link.controller.name: link.controller for link in self.links}.values())

    @property
    def processors(self) -> tuple[Link, ...]:
        """Links of the processors."""
        return tuple(link for link in self.links if link.source is None)

    @property
    def interfaces(self) -> tuple[Link, ...]:
        """Links of the accelerator, in the order of its interfaces."""
        return tuple(link for link in self.links if link.source is not None)


def network(design: Design) -> Network:
    """Links of a design: one per interface, and one to each controller for the processors.

    Raises
    ------
    ValueError
        If a controller has fewer ports than masters.
    """
    asked = _rates(design)
    links, taken = list[Link](), dict[str, int]()
    needed = {block.memory.controller for block in design.blocks}
    everyone: list[Interface | None] = [None, *design.interfaces]
    for source in everyone:
        if source is None:
            wanted = [one for one in design.board.controllers if one.name in needed]
        else:
            (channel,) = source.channels
            name = design.block(channel).memory.controller
            wanted = [one for one in design.board.controllers if one.name == name]
        for controller in wanted:
            into = taken.get(controller.name, 0)
            taken[controller.name] = into + 1
            if into == CONTROLLER_PORTS:
                raise ValueError(f"{controller.name} has {CONTROLLER_PORTS} ports only")
            out = sum(1 for link in links if (link.source is None) == (source is None))
            read, write = (PROCESSOR_MB, PROCESSOR_MB) if source is None else asked[source.name]
            links.append(Link(controller, source, out, into, into, read, write))
    return Network(tuple(links))


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
