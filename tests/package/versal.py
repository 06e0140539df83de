"""Rules of a block design for a Versal device: processors, network on chip, controllers."""

import re
from collections import Counter
from typing import Any

from .block_design import BlockDesign, words

__all__ = ["problems"]

PS_PMC = {
    "PMC_USE_PMC_NOC_AXI0": "1", "PS_NUM_FABRIC_RESETS": "1", "PS_USE_FPD_CCI_NOC": "1",
    "PS_USE_M_AXI_FPD": "1", "PS_USE_NOC_LPD_AXI0": "1", "PS_USE_PMCPL_CLK0": "1",
    "PS_IRQ_USAGE": "{CH0 1}", "PMC_CRP_PL0_REF_CTRL_FREQMHZ": "300",
}  # fmt: skip
PS_NOC = {
    "FPD_CCI_NOC_0": "fpd_cci_noc_axi0_clk", "FPD_CCI_NOC_1": "fpd_cci_noc_axi1_clk",
    "FPD_CCI_NOC_2": "fpd_cci_noc_axi2_clk", "FPD_CCI_NOC_3": "fpd_cci_noc_axi3_clk",
    "LPD_AXI_NOC_0": "lpd_axi_noc_clk", "PMC_NOC_AXI_0": "pmc_axi_noc_axi0_clk",
}  # fmt: skip
MEMORY_PINS = {  # of the board, as its board file names them
    "noc_ddr4": {"CH0_DDR4_0": ("ddr4_dimm1", "ddr4_rtl"), "sys_clk0": "ddr4_dimm1_sma_clk"},
    "noc_lpddr4_c0": {"CH0_LPDDR4_0": ("ch0_lpddr4_c0", "lpddr4_rtl"),
                      "CH1_LPDDR4_0": ("ch1_lpddr4_c0", "lpddr4_rtl"),
                      "sys_clk0": "lpddr4_sma_clk1"},
    "noc_lpddr4_c1": {"CH0_LPDDR4_0": ("ch0_lpddr4_c1", "lpddr4_rtl"),
                      "CH1_LPDDR4_0": ("ch1_lpddr4_c1", "lpddr4_rtl"),
                      "sys_clk0": "lpddr4_sma_clk2"},
}  # fmt: skip


def _bandwidths(text: str) -> dict[str, dict[str, str]]:
    """Connections of the network on chip: destination to what is asked of it."""
    found, parts = {}, words(text)
    for name, about in zip(parts[::2], parts[1::2], strict=True):
        inner = words(about)
        found[name] = dict(zip(inner[::2], inner[1::2], strict=True))
    return found


def problems(design: BlockDesign, made: Any, said: Any) -> list[str]:
    """All that is wrong with a recorded design, for a package and its map."""
    wrong = []
    told = words(design.properties["cips"].get("CONFIG.PS_PMC_CONFIG", ""))
    if dict(zip(told[::2], told[1::2], strict=True)) != PS_PMC:
        wrong.append(f"settings of the processing system: {told}")
    clock = design.net_of("cips/pl0_ref_clk")
    wrong += [
        f"{p} has no clock" for p in ("noc_pl/aclk0", "cips/m_axi_fpd_aclk") if p not in clock
    ]
    networks = {n: design.properties[n] for n, kind in design.cells.items() if "axi_noc" in kind}
    controllers = {block.memory.controller for block in made.blocks}
    if set(networks) != controllers | {"noc_ps", "noc_pl"}:
        return [*wrong, f"networks {sorted(networks)}"]
    for name, about in networks.items():
        wrong += _network(design, name, about, controllers)
    # From each interface through the network to the channel that it reads, at its address.
    channels = {channel["name"]: channel for channel in said["channels"]}
    expected = [("cips/M_AXI_FPD", "accelerator/s_axi_control/reg0", said["control"]["base"],
                 0x1_0000)]  # fmt: skip
    ways = {f"accelerator/{one.bus}": one for one in made.interfaces}
    starts = {pin: design.bus_of(pin) for pin in ways} | {
        f"cips/{pin}": design.bus_of(f"cips/{pin}") for pin in PS_NOC
    }
    for start, slaves in starts.items():
        if len(slaves) != 1:
            wrong.append(f"{start} is at {slaves}")
            continue
        cell, pin = slaves[0].split("/")
        for out, asked in _bandwidths(
            design.properties[slaves[0]].get("CONFIG.CONNECTIONS", "")
        ).items():
            (into,) = design.bus_of(f"{cell}/{out}") or ["?/?"]
            controller = into.split("/")[0]
            inner = _bandwidths(design.properties[into].get("CONFIG.CONNECTIONS", ""))
            (port,) = inner or ["MC_?"]
            one = ways.get(start)
            if one is not None and asked != inner.get(port):
                wrong.append(f"{start} asks {asked}, its controller {inner}")
            if one is not None and (int(asked["read_bw"]) > 0, int(asked["write_bw"]) > 0) != (
                bool(one.read), bool(one.write),
            ):  # fmt: skip
                wrong.append(f"{start} asks for {asked}")
            reached = (
                [channels[c] for c in one.channels] if one is not None
                else [c for c in channels.values()
                      if made.block(c["name"]).memory.controller == controller]
            )  # fmt: skip
            regions = [(c["memory"], *c["windows"][0]) for c in reached]
            if one is None and controller == "noc_ddr4":
                regions.append(("DDR_LOW0", 0, 0x8000_0000))
            for region, base, size in regions:
                if region not in {
                    v for k, v in networks.get(controller, {}).items() if "REGION" in k
                }:
                    wrong.append(f"{controller} has no region {region}")
                segment = f"{into}/C{port.removeprefix('MC_')}_{region}"
                expected.append((start, segment, base, size))
    if Counter(design.addresses) != Counter(expected):
        wrong.append(f"addresses {set(design.addresses) ^ set(expected)}")
    for pin, source in PS_NOC.items():
        (slave,) = design.bus_of(f"cips/{pin}") or ["?/S00_AXI"]
        number = int(re.findall(r"\d+", slave.split("/")[1])[0])
        if f"noc_ps/aclk{number}" not in design.net_of(f"cips/{source}"):
            wrong.append(f"clock of {pin}")
        if design.properties[f"noc_ps/aclk{number}"] != {
            "CONFIG.ASSOCIATED_BUSIF": f"S{number:02d}_AXI"
        }:
            wrong.append(f"clock of noc_ps/S{number:02d}_AXI")
        kind = {"F": "ps_cci", "L": "ps_rpu", "P": "ps_pmc"}[pin[0]]
        if design.properties[slave].get("CONFIG.CATEGORY") != kind:
            wrong.append(f"category of {slave}")
    return wrong


def _network(design: BlockDesign, name: str, about: Any, controllers: set[str]) -> list[str]:
    """Numbers of ports are those that are connected; memory is that of the board."""
    wrong = []
    ends = [
        pin.split("/")[1] for pair in design.buses for pin in pair if pin.startswith(f"{name}/")
    ]
    count = {
        "SI": sum(e.startswith("S") and e.endswith("_AXI") for e in ends),
        "NSI": sum(e.startswith("S") and e.endswith("_INI") for e in ends),
        "NMI": sum(e.startswith("M") and e.endswith("_INI") for e in ends),
    }
    wanted = {"NUM_MI": "0"}
    if name in controllers:
        wanted |= {"NUM_CLKS": "0", "NUM_MC": "1", "NUM_MCP": "4", "NUM_SI": "0",
                   "NUM_NSI": str(count["NSI"])}  # fmt: skip
        for pin, board in MEMORY_PINS[name].items():
            port, kind = (board, "diff_clock_rtl") if isinstance(board, str) else board
            wanted[f"{pin}_BOARD_INTERFACE"] = port
            mode = "Slave" if isinstance(board, str) else "Master"
            if design.ports.get(port) != f"{mode} xilinx.com:interface:{kind}:1.0":
                wrong.append(f"port {port}")
            if design.bus_of(f"{name}/{pin}") != [port]:
                wrong.append(f"{name}/{pin}")
            if isinstance(board, str) and not design.properties[port].get(
                "CONFIG.FREQ_HZ", ""
            ).startswith("200"):
                wrong.append(f"clock {port}")
        used = [next(iter(_bandwidths(design.properties[f"{name}/S{n:02d}_INI"].get(
            "CONFIG.CONNECTIONS", "none {}")))) for n in range(count["NSI"])]  # fmt: skip
        if sorted(used) != [f"MC_{n}" for n in range(count["NSI"])]:
            wrong.append(f"ports of {name}: {used}")
        regions = {
            "noc_ddr4": {"MC_CHAN_REGION0": "DDR_LOW0", "MC_CHAN_REGION1": "DDR_LOW1"},
            "noc_lpddr4_c0": {"MC_CHAN_REGION0": "DDR_CH2", "MC_CHAN_REGION1": "DDR_CH2_1",
                              "MC_CHANNEL_INTERLEAVING": "false", "MC1_FLIPPED_PINOUT": "true"},
            "noc_lpddr4_c1": {"MC_CHAN_REGION0": "DDR_CH1", "MC_CHAN_REGION1": "DDR_CH1_1",
                              "MC_CHANNEL_INTERLEAVING": "false"},
        }  # fmt: skip
        wanted |= regions[name]
    else:
        wanted |= {"NUM_SI": str(count["SI"]), "NUM_NMI": str(count["NMI"]),
                   "NUM_CLKS": str(count["SI"] if name == "noc_ps" else 1)}  # fmt: skip
        if name == "noc_pl":
            both = ":".join(f"S{n:02d}_AXI" for n in range(count["SI"]))
            if design.properties["noc_pl/aclk0"] != {"CONFIG.ASSOCIATED_BUSIF": both}:
                wrong.append("clock of noc_pl")
            if any(design.properties[f"noc_pl/S{n:02d}_AXI"].get("CONFIG.CATEGORY") != "pl"
                   for n in range(count["SI"])):  # fmt: skip
                wrong.append("category of noc_pl")
    if {k.removeprefix("CONFIG."): v for k, v in about.items()} != wanted:
        wrong.append(f"{name}: {about}")
    return wrong
