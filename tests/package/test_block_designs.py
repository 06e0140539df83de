"""The scripts of block designs, under an interpreter that records what they make."""

import json
import random
import shutil
from collections import Counter
from pathlib import Path

import pytest

from lightmamba.device.package.device import packaged_design

from . import versal
from .block_design import BlockDesign
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
    wrong += (_kv260 if board == "kv260" else versal.problems)(design, made, said)
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
