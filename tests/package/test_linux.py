"""Files for Linux: device trees, firmware, boot images; by dtc, fdtoverlay and bootgen."""

import json
import re
import shutil
import struct
import subprocess
from pathlib import Path

import pytest

from lightmamba.device.package import Board

from .simulated import packaged_design

HERE = Path(__file__).parent
QUIET = ("-W", "no-avoid_unnecessary_addr_size")  # of the root, in an overlay; as the Makefile says
OVERLAYS = {"kv260": ("lightmamba.dtsi", "memory.dtsi"), "vck190": ("lightmamba.dtsi",)}
needs_dtc = pytest.mark.skipif(
    not (shutil.which("dtc") and shutil.which("fdtoverlay")),
    reason="dtc is missing: apt-get install device-tree-compiler",
)
needs_bootgen = pytest.mark.skipif(
    shutil.which("bootgen") is None, reason="bootgen is missing: apt-get install xilinx-bootgen"
)


def tool(*words: object, cwd: Path | None = None) -> str:
    """Run a program; what it says on both outputs."""
    done = subprocess.run(
        [str(word) for word in words], cwd=cwd, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout + done.stderr


def applied(package: Path, folder: Path, board: str) -> str:
    """Text of the base tree with all overlays of a package."""
    tool("dtc", "-@", "-I", "dts", "-O", "dtb", "-o", folder / "base.dtb", HERE / "base.dts")
    overlays = []
    for name in OVERLAYS[board]:
        overlay = folder / f"{name}.dtbo"
        said = tool("dtc", *QUIET, "-@", "-I", "dts", "-O", "dtb", "-o", overlay, package / name)
        assert "Warning" not in said, said
        overlays.append(overlay)
    tool("fdtoverlay", "-i", folder / "base.dtb", "-o", folder / "system.dtb", *overlays)
    return tool("dtc", "-I", "dtb", "-O", "dts", folder / "system.dtb")


def node(text: str, name: str) -> str:
    """Inside of a node."""
    begin = re.search(rf"^\s*{re.escape(name)} \{{$", text, re.MULTILINE)
    assert begin is not None, name
    rest = text[begin.end() :]
    return rest[: rest.index("\n" + begin[0].partition(name)[0].lstrip("\n") + "};")]


def numbers(inside: str, name: str) -> list[int]:
    """Cells of a property."""
    found = re.search(rf"^\s*{re.escape(name)} = <(.+)>;$", inside, re.MULTILINE)
    assert found is not None, name
    return [int(cell, 0) for cell in found[1].split()]


def wide(cells: list[int]) -> list[int]:
    """Numbers of two cells each."""
    return [high << 32 | low for high, low in zip(cells[::2], cells[1::2], strict=True)]


@needs_dtc
@pytest.mark.parametrize("board", OVERLAYS)
def test_the_overlays_apply(packages, tmp_path, board):
    package = packages[board].path
    said = json.loads((package / "map.json").read_text())
    text = applied(package, tmp_path, board)
    base = said["control"]["base"]
    registers = node(text, f"lightmamba@{base:x}")
    assert 'compatible = "generic-uio"' in registers
    assert wide(numbers(registers, "reg")) == [base, 0x10000]
    assert numbers(registers, "interrupts") == {"kv260": [0, 89, 4], "vck190": [0, 84, 4]}[board]
    for channel in said["channels"]:
        memory = node(text, channel["device"])
        assert f'device-name = "{channel["device"]}"' in memory
        (size,) = wide(numbers(memory, "size"))
        assert channel["bytes"] <= size < channel["bytes"] + channel["alignment"]
        top = max(base + count for base, count in channel["windows"]) - 1
        assert top < 1 << numbers(memory, "dma-mask")[0]


@needs_dtc
def test_memory_of_the_kv260_is_set_aside(packages, tmp_path):
    package = packages["kv260"].path
    text = applied(package, tmp_path, "kv260")
    (channel,) = json.loads((package / "map.json").read_text())["channels"]
    pool = node(text, f"{channel['device']}-pool")
    assert "linux,cma-default;" in pool
    assert wide(numbers(pool, "size"))[0] >= channel["bytes"] + (32 << 20)
    assert wide(numbers(pool, "alignment"))[0] % channel["alignment"] == 0
    assert wide(numbers(pool, "alloc-ranges")) == [0x8_0000_0000, 0x8000_0000]
    afi = numbers(node(text, "afi0"), "config-afi")
    assert afi == [x for n in range(14) for x in (n, 0)] + [14, 0, 15, 0]  # 128 bits, 32 for HPM0
    clock = node(text, "clocking0")
    assert numbers(clock, "assigned-clock-rates") == [300_000_000]


@needs_dtc
def test_memory_of_the_vck190_is_set_aside(packages, tmp_path):
    package = packages["vck190"].path
    text = applied(package, tmp_path, "vck190")
    bases = packaged_design(package).placed()
    for channel in json.loads((package / "map.json").read_text())["channels"]:
        base = bases[channel["name"]]
        assert base == channel["windows"][0][0]
        pool = node(text, f"{channel['device']}@{base:x}")
        assert "no-map;" in pool
        assert wide(numbers(pool, "reg"))[0] == base
        (handle,) = numbers(pool, "phandle")
        memory = node(text, channel["device"])
        assert numbers(memory, "memory-region") == [handle]
        assert wide(numbers(pool, "reg"))[1:] == wide(numbers(memory, "size"))


def bitstream(part: str) -> bytes:
    """A file in the form of a bitstream: its header, and a few words of configuration."""
    words = [0xFFFFFFFF] * 16 + [0x000000BB, 0x11220044, 0xFFFFFFFF, 0xFFFFFFFF, 0xAA995566]
    words += [0x20000000, 0x30008001, 0x0000000D, 0x20000000] + [0x20000000] * 64
    data = struct.pack(f">{len(words)}I", *words)
    header = bytes.fromhex("00090ff00ff00ff00ff000") + b"\x00\x01"
    for key, text in (("a", "system_wrapper;UserID=0XFFFFFFFF"), ("b", part),
                      ("c", "2026/01/01"), ("d", "00:00:00")):  # fmt: skip
        field = text.encode() + b"\0"
        header += key.encode() + struct.pack(">H", len(field)) + field
    return header + b"e" + struct.pack(">I", len(data)) + data


@needs_bootgen
def test_bootgen_takes_the_bif_of_the_kv260(packages, tmp_path):
    package = packages["kv260"].path
    (tmp_path / "build").mkdir()
    raw = bitstream(Board.load("kv260").part)
    (tmp_path / "build/lightmamba.bit").write_bytes(raw)
    shutil.copy(package / "lightmamba.bif", tmp_path)
    tool("bootgen", "-w", "-arch", "zynqmp", "-process_bitstream", "bin", "-image",
         "lightmamba.bif", cwd=tmp_path)  # fmt: skip
    made = (tmp_path / "build/lightmamba.bit.bin").read_bytes()
    assert bytes.fromhex("665599aa") in made or bytes.fromhex("aa995566") in made
    assert len(made) < len(raw)


@pytest.mark.parametrize("board", ["kv260", "u280", "u55c", "vck190"])
def test_scripts_are_shell_and_python(packages, board):
    package = packages[board].path
    for script in package.rglob("*.sh"):
        tool("sh", "-n", script)
        assert script.stat().st_mode & 0o111
    compile((package / "driver/run.py").read_text(), "run.py", "exec")
    tool("make", "-n", "-C", package, "BSP=/nowhere", "logs")
