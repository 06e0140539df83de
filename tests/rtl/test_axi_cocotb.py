"""The memory side and the host port against an independent model of AXI4: cocotbext-axi."""

import contextlib
import importlib.util
import shutil
from pathlib import Path
from typing import Any

import pytest
from amaranth.back import verilog
from amaranth.hdl import Module, Value
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from lightmamba.arch.config import ArchConfig
from lightmamba.hardware.rtl.host import HostPort
from lightmamba.hardware.rtl.layouts import i_stream
from lightmamba.hardware.rtl.memory.arbiter import ReadArbiter, WriteArbiter
from lightmamba.hardware.rtl.memory.axi import READ, WRITE, lite_slave, master
from lightmamba.hardware.rtl.memory.reader import Reader, WordReader
from lightmamba.hardware.rtl.memory.writer import WordWriter, Writer

BITS, DEPTH = 128, 32


def missing() -> str | None:
    """Tools that this test needs and does not find."""
    for tool in ("verilator", "g++"):
        if shutil.which(tool) is None:
            return f"{tool} is not installed"
    for package in ("cocotb", "cocotb_tools", "cocotbext"):
        if importlib.util.find_spec(package) is None:
            return f"{package} is not installed (pip install cocotb cocotbext-axi)"
    return None


def copier() -> tuple[Any, list[Any]]:
    """Three readers, each feeding a writer, on one port, beside a host port; and its ports."""
    readers: list[Any] = [Reader(BITS, DEPTH, 16), Reader(BITS, 7, 5), WordReader(BITS, DEPTH, 8)]
    writers: list[Any] = [Writer(BITS, DEPTH, 16), Writer(BITS, 9, 4), WordWriter(BITS, DEPTH, 8)]
    n = len(readers)
    signature = wiring.Signature(
        {"axi": Out(master(BITS)), "host": In(lite_slave())}
        | {f"from{k}": i_stream(READ) for k in range(n)}
        | {f"to{k}": i_stream(WRITE) for k in range(n)}
        | {f"done{k}": Out(1) for k in range(n)}
    )
    top = signature.create(path=())
    m = Module()
    m.submodules.host = host = HostPort(ArchConfig(lanes=2))
    m.submodules.reads = reads = ReadArbiter(BITS, n)
    m.submodules.writes = writes = WriteArbiter(BITS, n)
    wiring.connect(m, wiring.flipped(top.host), host.bus)
    for k, (reader, writer) in enumerate(zip(readers, writers, strict=True)):
        m.submodules[f"reader{k}"] = reader
        m.submodules[f"writer{k}"] = writer
        wiring.connect(m, reader.axi, getattr(reads, f"i{k}"))
        wiring.connect(m, writer.axi, getattr(writes, f"i{k}"))
        wiring.connect(m, reader.o, writer.i)
        wiring.connect(m, wiring.flipped(getattr(top, f"from{k}")), reader.command)
        wiring.connect(m, wiring.flipped(getattr(top, f"to{k}")), writer.command)
        m.d.comb += getattr(top, f"done{k}").eq(writer.done)
    for part in (reads.o, writes.o):
        for name, member in part.signature.members.items():
            ours, theirs = getattr(top.axi, name), getattr(part, name)
            m.d.comb += ours.eq(theirs) if member.flow is Out else theirs.eq(ours)
    return m, [Value.cast(value) for _, _, value in signature.flatten(top)]


@pytest.mark.slow
def test_copies_through_axi_ram(tmp_path: Path):
    """Every test of ``tests/support/axi_cocotb.py`` passes, and all were run."""
    if (reason := missing()) is not None:
        pytest.skip(reason)
    from cocotb_tools.check_results import get_results
    from cocotb_tools.runner import get_runner

    module, ports = copier()
    source = tmp_path / "copier.v"
    source.write_text(verilog.convert(module, name="copier", ports=ports))
    runner = get_runner("verilator")
    runner.build(
        sources=[source], hdl_toplevel="copier", build_dir=tmp_path / "build",
        build_args=["-Wno-fatal", "-Wno-lint"], log_file=tmp_path / "build.log",
    )  # fmt: skip
    with contextlib.suppress(SystemExit):  # the runner's way to say that some failed
        runner.test(
            test_module="tests.support.axi_cocotb", hdl_toplevel="copier",
            build_dir=tmp_path / "build", test_dir=tmp_path, log_file=tmp_path / "run.log",
        )  # fmt: skip
    (results,) = tmp_path.rglob("*.result.xml")
    log = (tmp_path / "run.log").read_text()
    assert get_results(results) == (6, 0), log[-6000:]
