"""The scripts of block designs, under an interpreter that records what they make."""

import json
import random
import re
import shutil
from collections import Counter
from pathlib import Path

import pytest

from lightmamba.package.device import packaged_design

from .block_design import BlockDesign, words
from .recorder import Vendor, missing, run

pytestmark = pytest.mark.skipif(bool(missing()), reason=missing())
FRESH = {"version": "2025.2", "get_board_parts": "board", "PROGRESS": "100%", "SLACK": "0.05"}
ORDER = [
    "create_project", "get_board_parts", "add_files", "update_compile_order",
    "create_bd_design", "create_bd_cell", "apply_bd_automation", "validate_bd_design",
    "save_bd_design", "generate_target", "make_wrapper", "launch_runs", "wait_on_runs", "open_run",
    "report_timing_summary", "report_utilization", "write_hw_platform",
]  # fmt: skip
ONCE = [name for name in ORDER if name not in ("add_files", "update_compile_order",
                                               "create_bd_cell")]  # fmt: skip
BOARDS = {
    "kv260": {"image": "bit", "step": "write_bitstream", "processor": "ps",
              "kind": "zynq_ultra_ps_e"},
    "vck190": {"image": "pdi", "step": "write_device_image", "processor": "cips",
               "kind": "versal_cips"},
}  # fmt: skip
CLOCKS = {  # of each kind of cell: pins that need the clock, or the reset
    "smartconnect": (("aclk",), ("aresetn",)),
    "proc_sys_reset": (("slowest_sync_clk",), ()),
    "module lightmamba": (("ap_clk",), ("ap_rst_n",)),
}
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


def problems(package: Path, folder: Path, board: str) -> list[str]:
    """All that is wrong with the scripts in ``folder``, for a package."""
    about = BOARDS[board]
    shutil.rmtree(folder / "build", ignore_errors=True)
    calls, found = run(folder / "build.tcl", Vendor(FRESH))
    if found:
        return found
    named = [call.name for call in calls]
    wrong = [f"{name} once" for name in ONCE if named.count(name) != 1]
    firsts = [named.index(name) if name in named else -1 for name in ORDER]
    if wrong or -1 in firsts or firsts != sorted(firsts):
        return [*wrong, f"order of commands: {dict(zip(ORDER, firsts, strict=True))}"]
    by = {name: [c for c in calls if c.name == name] for name in set(named)}
    made = packaged_design(package)
    said = json.loads((package / "map.json").read_text())
    design = BlockDesign.of(calls)
    wrong += _project(by, made, about, folder)
    if design.repeated:
        wrong.append(f"twice: {design.repeated}")
    if design.cells.get("accelerator") != "module lightmamba":
        wrong.append("accelerator")
    if about["kind"] not in design.cells.get(about["processor"], ""):
        wrong.append("processor")
    automation = by["apply_bd_automation"][0]
    if (about["kind"].removeprefix("versal_") not in str(automation.option("-rule"))
            or automation.last != about["processor"]
            or "board_preset" not in str(automation.option("-config"))):  # fmt: skip
        wrong.append("board preset")
    wrong += _clocks(design, about["processor"], board)
    if "accelerator/interrupt" not in design.net_of(f"{about['processor']}/pl_ps_irq0"):
        wrong.append("interrupt")
    used = Counter(pin for pair in design.buses for pin in pair)
    if any(used[f"accelerator/{bus}"] != 1 for bus in made.buses):
        wrong.append("each interface once")
    if over := [pin for pin, count in used.items() if count > 1]:
        wrong.append(f"interfaces connected twice: {over}")
    if [design.properties["control"].get(f"CONFIG.NUM_{end}") for end in ("SI", "MI")] != [
        "1",
        "1",
    ]:
        wrong.append("control interconnect")
    master = {"kv260": "ps/M_AXI_HPM0_FPD", "vck190": "cips/M_AXI_FPD"}[board]
    if (design.bus_of(master), design.bus_of("accelerator/s_axi_control")) != (
        ["control/S00_AXI"], ["control/M00_AXI"],
    ):  # fmt: skip
        wrong.append("registers are not reached")
    wrong += (_kv260 if board == "kv260" else _vck190)(design, made, said)
    return wrong


def _project(by, made, about, folder) -> list[str]:
    wrong = []
    if by["create_project"][0].option("-part") != made.board.part:
        wrong.append("part")
    if by["get_board_parts"][0].last != made.board.board_part or not {
        "-quiet", "-latest_file_version",
    } <= set(by["get_board_parts"][0].arguments):  # fmt: skip
        wrong.append("board part")
    sets = [c.arguments for c in by["set_property"]]
    if not any(s[:2] == ("board_part", "board") for s in sets):
        wrong.append("the project has no board")
    if not any(s[:2] == ("top", "system_wrapper") for s in sets):
        wrong.append("top module")
    files = [{Path(name).name for name in c.last.split()} for c in by["add_files"]]
    if files != [{"lightmamba.v", "wrapper.v"}, {"system_wrapper.v"}]:
        wrong.append(f"files {files}")
    if len(by["update_compile_order"]) != 2:
        wrong.append("compile order")
    wrapper = by["make_wrapper"][0]
    if wrapper.arguments != ("-top", "system.bd"):
        wrong.append("make_wrapper")
    if by["generate_target"][0].arguments != ("all", "system.bd"):
        wrong.append("generate_target")
    launch = by["launch_runs"][0]
    if launch.arguments[0] != "impl_1" or launch.option("-to_step") != about["step"]:
        wrong.append("launch_runs")
    platform = by["write_hw_platform"][0]
    if not {"-fixed", "-include_bit"} <= set(platform.arguments):
        wrong.append("write_hw_platform")
    if not (folder / f"build/lightmamba.{about['image']}").is_file():
        wrong.append("the image is not copied")
    for name in ("report_timing_summary", "report_utilization"):
        if by[name][0].option("-file") is None:
            wrong.append(name)
    return wrong


def _clocks(design, processor, board) -> list[str]:
    clock = {"kv260": "ps/pl_clk0", "vck190": "cips/pl0_ref_clk"}[board]
    reset = {"kv260": "ps/pl_resetn0", "vck190": "cips/pl0_resetn"}[board]
    wrong, net = [], design.net_of(clock)
    resets = design.net_of("reset/peripheral_aresetn")
    for name, kind in design.cells.items():
        for part, (clocks, lows) in CLOCKS.items():
            if part == kind or f":{part}" in kind:
                wrong += [f"{name}/{p} has no clock" for p in clocks if f"{name}/{p}" not in net]
                wrong += [f"{name}/{p} has no reset" for p in lows if f"{name}/{p}" not in resets]
    if "reset/ext_reset_in" not in design.net_of(reset):
        wrong.append("reset of the processor")
    kinds = list(design.cells.values())
    if (
        sum("proc_sys_reset" in k for k in kinds) != 1
        or sum("smartconnect" in k for k in kinds) != 1
    ):
        wrong.append("cells")
    return wrong


def _kv260(design, made, said) -> list[str]:
    wrong = []
    settings = design.properties["ps"]
    pins = {0: "HPC0", 1: "HPC1", 2: "HP0", 3: "HP1", 4: "HP2", 5: "HP3"}  # by number of S_AXI_GP
    wanted = {
        "CONFIG.PSU__USE__M_AXI_GP0": "1", "CONFIG.PSU__USE__M_AXI_GP1": "0",
        "CONFIG.PSU__USE__M_AXI_GP2": "0", "CONFIG.PSU__MAXIGP0__DATA_WIDTH": "32",
        "CONFIG.PSU__USE__IRQ0": "1", "CONFIG.PSU__FPGA_PL0_ENABLE": "1",
        "CONFIG.PSU__CRL_APB__PL0_REF_CTRL__FREQMHZ": "300",
    }  # fmt: skip
    clock = design.net_of("ps/pl_clk0")
    spaces = Counter[tuple[str, str, int, int]]()
    for one in made.interfaces:
        (pin,) = design.bus_of(f"accelerator/{one.bus}") or [""]
        gp = next((n for n, name in pins.items() if pin == f"ps/S_AXI_{name}_FPD"), None)
        if gp is None:
            wrong.append(f"{one.bus} is at {pin}")
            continue
        wanted[f"CONFIG.PSU__USE__S_AXI_GP{gp}"] = "1"
        wanted[f"CONFIG.PSU__SAXIGP{gp}__DATA_WIDTH"] = str(one.bits)
        if f"ps/saxi{pins[gp].lower()}_fpd_aclk" not in clock:
            wrong.append(f"{pin} has no clock")
        for name, base in (("LOW", 0), ("HIGH", 0x8_0000_0000)):
            spaces[(f"accelerator/{one.bus}", f"ps/SAXIGP{gp}/{pins[gp]}_DDR_{name}", base,
                    0x8000_0000)] += 1  # fmt: skip
    if "ps/maxihpm0_fpd_aclk" not in clock:
        wrong.append("maxihpm0_fpd_aclk")
    if settings != wanted:
        wrong.append(f"settings of the processing system: {settings}")
    spaces[("ps/Data", "accelerator/s_axi_control/reg0", said["control"]["base"], 0x1_0000)] += 1
    if Counter(design.addresses) != spaces:
        wrong.append(f"addresses {design.addresses}")
    windows = {tuple(w) for channel in said["channels"] for w in channel["windows"]}
    if windows != {(base, size) for space, _, base, size in spaces if space != "ps/Data"}:
        wrong.append("the map has other windows")
    return wrong


def _bandwidths(text: str) -> dict[str, dict[str, str]]:
    """Connections of the network on chip: destination to what is asked of it."""
    found, parts = {}, words(text)
    for name, about in zip(parts[::2], parts[1::2], strict=True):
        inner = words(about)
        found[name] = dict(zip(inner[::2], inner[1::2], strict=True))
    return found


def _vck190(design, made, said) -> list[str]:
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


def _network(design, name, about, controllers) -> list[str]:
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


def suite(package: Path, folder: Path, board: str) -> list[str]:
    """Problems of a run, and refusals that are missing."""
    found = problems(package, folder, board)
    for name, value, sentence in (
        ("version", "2021.1", "which this package was written for"),
        ("get_board_parts", "", "has no board file"),
        ("PROGRESS", "50%", "implementation failed"),
        ("SLACK", "-0.1", "misses its clock of 300 MHz by 0.1 ns"),
    ):
        _, refused = run(folder / "build.tcl", Vendor(FRESH | {name: value}))
        if not any(sentence in line for line in refused):
            found.append(f"not refused: {sentence}")
    return found


def copied(package: Path, folder: Path) -> Path:
    """The scripts at a place of their own."""
    for name in ("bd.tcl", "build.tcl"):
        (folder / name).write_text((package / name).read_text())
    return folder


@pytest.mark.parametrize("board", BOARDS)
def test_the_scripts_build_the_design(packages, tmp_path, board):
    assert suite(packages[board].path, copied(packages[board].path, tmp_path), board) == []


def check_deletions(package: Path, folder: Path, board: str, count: int | None) -> None:
    """Delete lines one at a time; each must be missed."""
    copied(package, folder)
    places = []
    for name in ("bd.tcl", "build.tcl"):
        lines = (folder / name).read_text().splitlines(keepends=True)
        places += [(name, n) for n, x in enumerate(lines) if x.strip() and not x.startswith("#")]
    if count is not None:
        places = random.Random(5).sample(places, count)
    unseen = []
    for name, n in places:
        copied(package, folder)
        lines = (folder / name).read_text().splitlines(keepends=True)
        (folder / name).write_text("".join(lines[:n] + lines[n + 1 :]))
        if not (problems(package, folder, board) or suite(package, folder, board)):
            unseen.append(lines[n])
    assert [line for line in unseen if line.strip() not in NO_EFFECT] == []


NO_EFFECT = {  # lines without which the same is built
    "cd $here",  # make runs the tool in the folder anyhow
}


@pytest.mark.parametrize("board", BOARDS)
def test_some_missing_lines_are_seen(packages, tmp_path, board):
    check_deletions(packages[board].path, tmp_path, board, 10)


@pytest.mark.slow
@pytest.mark.parametrize("board", BOARDS)
def test_every_missing_line_is_seen(packages, tmp_path, board):
    check_deletions(packages[board].path, tmp_path, board, None)


@pytest.mark.parametrize(
    ("board", "old", "new"),
    [
        ("kv260", "ps/S_AXI_HP1_FPD", "ps/S_AXI_HP2_FPD"),
        ("kv260", "CONFIG.PSU__SAXIGP2__DATA_WIDTH {128}", "CONFIG.PSU__SAXIGP2__DATA_WIDTH {64}"),
        ("kv260", "-offset 0xa0000000", "-offset 0xb0000000"),
        ("vck190", "MC_CHAN_REGION1 {DDR_CH2_1}", "MC_CHAN_REGION1 {DDR_CH1_1}"),
        ("vck190", "noc_lpddr4_c0/S01_INI/C1_DDR_CH2]", "noc_lpddr4_c0/S01_INI/C0_DDR_CH2]"),
        ("vck190", "validate_bd_design", "validate_design_bd"),
    ],
)
def test_a_wrong_line_is_seen(packages, tmp_path, board, old, new):
    folder = copied(packages[board].path, tmp_path)
    text = (folder / "bd.tcl").read_text()
    assert old in text
    (folder / "bd.tcl").write_text(text.replace(old, new, 1))
    assert problems(packages[board].path, folder, board)
