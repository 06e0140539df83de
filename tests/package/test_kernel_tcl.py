"""The packaging script of an RTL kernel, under an interpreter that records what it makes."""

import random
import re
from collections import Counter, defaultdict
from pathlib import Path

import pytest

from lightmamba.device.package.check import module_ports
from lightmamba.device.package.device import packaged_design
from lightmamba.hardware.machine.registers import offsets
from tests.support.machine import REGISTERS

from .recorder import Call, Vendor, missing, run

pytestmark = pytest.mark.skipif(bool(missing()), reason=missing())
FRESH = {"version": "2023.2", "ipx::current_core": "core"}
NOTHING = {"ipx::get_memory_maps": "", "ipx::get_address_blocks": "", "ipx::get_bus_parameters": ""}
CORE = {
    "sdx_kernel": "true", "sdx_kernel_type": "rtl", "supported_families": "",
    "vitis_drc": "ctrl_protocol user_managed", "ipi_drc": "ignore_freq_hz true",
    "auto_family_support_level": "level_2",
}  # fmt: skip
ACCESS = {"rw": "read-write", "ro": "read-only", "wo": "write-only"}
ORDER = [
    "create_project", "add_files", "update_compile_order", "ipx::package_project",
    "ipx::associate_bus_interfaces", "ipx::add_register", "ipx::create_xgui_files",
    "ipx::update_checksums", "ipx::check_integrity", "ipx::save_core", "close_project",
    "package_xo",
]  # fmt: skip


def problems(folder: Path, script: Path, *, inferred: bool) -> list[str]:
    """All that is wrong with a script for the package in ``folder``.

    With ``inferred`` the tool has found a memory map and a clock frequency by itself.
    """
    calls, found = run(script, Vendor(FRESH | ({} if inferred else NOTHING)))
    if found:
        return found
    made = packaged_design(folder)
    named = [call.name for call in calls]
    firsts = [named.index(name) if name in named else -1 for name in ORDER]
    if -1 in firsts or firsts != sorted(firsts):
        return [f"order of commands: {dict(zip(ORDER, firsts, strict=True))}"]
    by: dict[str, list[Call]] = defaultdict(list)
    for call in calls:
        by[call.name].append(call)
    wrong = _project(by, made.board.part, folder)
    ports = module_ports((folder / "rtl/wrapper.v").read_text(), "lightmamba")
    buses = {name.removesuffix("_awaddr") for name in ports if name.endswith("_awaddr")}
    wrong += _buses(by, buses, made.interfaces, made.artifact.arch.burst_beats, inferred)
    wrong += _registers(by, made, buses, inferred)
    return wrong


def _project(by: dict[str, list[Call]], part: str, folder: Path) -> list[str]:
    wrong = []
    if by["create_project"][0].option("-part") != part:
        wrong.append("part")
    files = {Path(name).name for name in by["add_files"][0].last.split()}
    if files != {"lightmamba.v", "wrapper.v"}:
        wrong.append(f"files {files}")
    sets = [c.arguments for c in by["set_property"]]
    if ("top", "lightmamba", "current_fileset") not in [s[:3] for s in sets] and (
        "top", "lightmamba", "",
    ) not in sets:  # fmt: skip
        wrong.append("top module")
    core = {name: value for name, value, *at in sets if at == ["core"]}
    if core != CORE:
        wrong.append(f"properties of the core: {core}")
    package = by["ipx::package_project"][0]
    ip = package.option("-root_dir")
    if "-import_files" not in package.arguments or package.option("-set_current") != "true":
        wrong.append("package_project")
    for name in ("create_xgui_files", "update_checksums", "check_integrity", "save_core"):
        if by[f"ipx::{name}"][0].last != "core":
            wrong.append(name)
    if "-kernel" not in by["ipx::check_integrity"][0].arguments:
        wrong.append("check_integrity without -kernel")
    xo = by["package_xo"][0]
    said = {o: xo.option(o) for o in ("-kernel_name", "-ctrl_protocol", "-ip_directory")}
    if said != {
        "-kernel_name": "lightmamba", "-ctrl_protocol": "user_managed", "-ip_directory": ip,
    } or not str(xo.option("-xo_path")).endswith("build/lightmamba.xo"):  # fmt: skip
        wrong.append(f"package_xo {said}")
    return wrong


def _buses(by, buses, interfaces, burst, inferred) -> list[str]:
    wrong = []
    clocked = Counter(
        c.option("-busif") for c in by["ipx::associate_bus_interfaces"]
        if c.option("-clock") == "ap_clk" and "-busif" in c.arguments
    )  # fmt: skip
    if clocked != Counter(buses):
        wrong.append(f"clocked {clocked}")
    resets = [c for c in by["ipx::associate_bus_interfaces"] if "-reset" in c.arguments]
    if [(c.option("-clock"), c.option("-reset")) for c in resets] != [("ap_clk", "ap_rst_n")]:
        wrong.append("reset")
    removed = [c.arguments for c in by.get("ipx::remove_bus_parameter", [])]
    if removed != ([("FREQ_HZ", "ap_clk")] if inferred else []):
        wrong.append(f"FREQ_HZ {removed}")
    added = [c.arguments for c in by["ipx::add_bus_parameter"]]
    wanted = [("FREQ_TOLERANCE_HZ", "ap_clk")]
    values = [("value", "-1", "FREQ_TOLERANCE_HZ")]
    for one in interfaces:
        for name, value in (("MAX_BURST_LENGTH", str(burst)), ("SUPPORTS_NARROW_BURST", "0"),
                            ("READ_WRITE_MODE", one.mode)):  # fmt: skip
            wanted.append((name, one.bus))
            values.append(("value", value, name))
    if Counter(added) != Counter(wanted):
        wrong.append(f"bus parameters {added}")
    given = Counter(c.arguments for c in by["set_property"] if c.last in dict(wanted))
    if given != Counter(values):
        wrong.append(f"values of bus parameters {given}")
    return wrong


def _registers(by, made, buses, inferred) -> list[str]:
    wrong = []
    arguments = [c.arguments for c in by["set_property"]]
    if ("slave_memory_map_ref", "s_axi_control", "s_axi_control") not in arguments:
        wrong.append("memory map of the bus")
    for name, value in (("range", "4096"), ("width", "32")):
        if (name, value, "reg0") not in arguments:
            wrong.append(f"{name} of the registers")
    if (len(by.get("ipx::add_memory_map", [])), len(by.get("ipx::add_address_block", []))) != (
        (0, 0) if inferred else (1, 1)
    ):
        wrong.append("memory map")
    names = [c.arguments for c in by["ipx::add_register"]]
    at, expected = offsets(), {}
    for register in REGISTERS:  # anew, from the accelerator's own table
        for n in range(register.counted(made.artifact.arch)):
            name = f"{register.name}_{n}" if register.count > 1 else register.name
            size = 32 * (1 + register.wide)
            expected[name] = {
                "address_offset": at[register.name] + n * size // 8, "size": size,
                "access": ACCESS[register.access], "description": " ".join(register.doc.split()),
            }  # fmt: skip
    if Counter(names) != Counter((name, "reg0") for name in expected):
        wrong.append("each register once")
    given: dict[str, dict[str, object]] = {}
    for call in by["set_property"]:
        name, value, *rest = call.arguments
        if rest and rest[0] in expected:
            number = int(value, 0) if name in ("address_offset", "size") else value
            given.setdefault(rest[0], {})[name] = number
    if given != expected:
        wrong.append(f"registers: {[n for n in expected if given.get(n) != expected[n]]}")
    # Addresses: each is 64 bits wide, and names an interface that there is.
    pointers = [c.arguments for c in by["ipx::add_register_parameter"]]
    address = r".*_base(_\d+)?|slot_(read|write|conv_state)_0"
    wide = {name for name in expected if re.fullmatch(address, name)}
    if Counter(pointers) != Counter(("ASSOCIATED_BUSIF", name) for name in wide):
        wrong.append("pointers")
    targets = [c.arguments[1] for c in by["set_property"] if c.last == "ASSOCIATED_BUSIF"]
    said = dict(zip([p[1] for p in pointers], targets, strict=False))
    wanted = {
        name: f"m_axi_lane{name.rpartition('_')[2]}" if name.startswith("lane_base")
        else "m_axi_state" if name.startswith(("slot_read", "slot_write")) else "m_axi_aux"
        for name in wide
    }  # fmt: skip
    if said != wanted or set(said.values()) != buses - {"s_axi_control"}:
        wrong.append(f"interfaces of pointers {said}")
    return wrong


def suite(folder: Path, script: Path) -> list[str]:
    """Problems in any of the runs: a bare tool, one that infers, one of another version."""
    found = problems(folder, script, inferred=False) + problems(folder, script, inferred=True)
    _, refused = run(script, Vendor(FRESH | {"version": "2024.1"}))
    if not any("is not one of 2022.2" in line for line in refused):
        found.append("another version was not refused")
    return found


def copied(package: Path, folder: Path) -> Path:
    """The script at a place of its own."""
    script = folder / "kernel.tcl"
    script.write_text((package / "kernel.tcl").read_text())
    return script


@pytest.mark.parametrize("board", ["u280", "u55c"])
def test_the_script_packages_the_kernel(packages, tmp_path, board):
    package = packages[board].path
    script = copied(package, tmp_path)
    found = problems(package, script, inferred=False) + problems(package, script, inferred=True)
    assert found == []
    _, refused = run(script, Vendor(FRESH | {"version": "2021.1"}))
    assert "which this package was written for" in refused[0]


def lines_of(script: Path) -> list[int]:
    """Numbers of the lines that do something."""
    lines = script.read_text().splitlines()
    return [n for n, line in enumerate(lines) if line.strip() and not line.startswith("#")]


def without(script: Path, line: int, folder: Path) -> Path:
    """A copy of a script that lacks one line."""
    lines = script.read_text().splitlines(keepends=True)
    shorter = folder / "shorter.tcl"
    shorter.write_text("".join(lines[:line] + lines[line + 1 :]))
    return shorter


def check_deletions(package: Path, folder: Path, count: int | None) -> None:
    script = copied(package, folder)
    numbers = lines_of(script)
    if count is not None:
        numbers = random.Random(3).sample(numbers, count)
    unseen = [n for n in numbers if not suite(package, without(script, n, folder))]
    lines = script.read_text().splitlines()
    assert [lines[n] for n in unseen] == []


def test_some_missing_lines_are_seen(packages, tmp_path):
    check_deletions(packages["u280"].path, tmp_path, 12)


@pytest.mark.slow
def test_every_missing_line_is_seen(packages, tmp_path):
    check_deletions(packages["u280"].path, tmp_path, None)


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("lane_base_1 0x050", "lane_base_1 0x04c"),
        ("read-write {address of a lane's weights} m_axi_lane1", "read-write {x} m_axi_lane0"),
        ("m_axi_state READ_WRITE", "m_axi_state READ_ONLY"),
        ("-ctrl_protocol user_managed", "-ctrl_protocol ap_ctrl_hs"),
        ("ipx::save_core $core", "ipx::save_cores $core"),
        ("package_xo -force", "package_xo -forced"),
    ],
)
def test_a_wrong_line_is_seen(packages, tmp_path, old, new):
    script = copied(packages["u280"].path, tmp_path)
    text = script.read_text()
    assert text.count(old) == 1
    script.write_text(text.replace(old, new))
    assert suite(packages["u280"].path, script)
