"""Verilog of a component."""

import gc
import re
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from amaranth.back import rtlil
from amaranth.hdl import Module, Signal, Value
from amaranth.lib import cdc, memory, wiring
from amaranth.lib.fifo import SyncFIFOBuffered
from amaranth.lib.wiring import In, Out

from lightmamba.hardware.rtl import verilog
from lightmamba.hardware.rtl.verilog import written


class Table(wiring.Component):
    """A memory of four bytes that begins with ``init``."""

    def __init__(self, *init: int) -> None:
        self.init = init
        super().__init__({"address": In(2), "data": Out(8)})

    def elaborate(self, platform: object) -> Module:
        m = Module()
        m.submodules.table = table = memory.Memory(shape=8, depth=4, init=self.init)
        read, write = table.read_port(), table.write_port()
        m.d.comb += [read.addr.eq(self.address), self.data.eq(read.data), read.en.eq(1)]
        m.d.comb += [write.addr.eq(self.address), write.en.eq(self.address == 3)]
        return m


def text(component: Any) -> str:
    return written(component, "table")


def test_a_memory_of_zeros_has_no_contents():
    assert "reg [7:0] \\table  [3:0];" in text(Table())
    assert "\\table [0]" not in text(Table())


@pytest.mark.parametrize("init", [(1, 0, 0, 0), (0, 0, 0, 9)])
def test_other_contents_are_kept_whole(init):
    for at, value in enumerate(init):
        assert f"\\table [{at}] = 8'h{value:02x};" in text(Table(*init))


class Queue(wiring.Component):
    """A queue of a library, whose memory Amaranth gives the place where it was written."""

    def __init__(self) -> None:
        super().__init__({"data": In(2), "moves": In(1), "out": Out(2)})

    def elaborate(self, platform: object) -> Module:
        m = Module()
        m.submodules.queue = queue = SyncFIFOBuffered(width=2, depth=4)
        m.d.comb += [queue.w_data.eq(self.data), queue.w_en.eq(self.moves)]
        m.d.comb += [queue.r_en.eq(self.moves), self.out.eq(queue.r_data)]
        return m


def test_it_names_no_place_of_this_machine():
    assert ".py" not in text(Queue())


class Crossing(wiring.Component):
    """A bit that passes through several clock domains, which nobody drives."""

    def __init__(self, names: str) -> None:
        self.names = names
        super().__init__({"data": In(1), "out": Out(1)})

    def elaborate(self, platform: object) -> Module:
        m = Module()
        line: Value = self.data
        for name in self.names:
            crossed = Signal()
            m.submodules[name] = cdc.FFSynchronizer(line, crossed, o_domain=name)
            line = crossed
        m.d.comb += self.out.eq(line)
        return m


def test_clocks_of_several_domains_are_in_the_order_of_their_names():
    """Amaranth has them in the order of a set."""
    ports = re.search(r"module \\table \((.*?)\);", text(Crossing("fbeadc")), re.DOTALL)
    assert ports is not None
    assert re.findall(r"(\w)_clk", ports[1]) == list("abcdef")


class Broken(wiring.Component):
    def __init__(self) -> None:
        super().__init__({"data": In(2)})

    def elaborate(self, platform: object) -> Module:
        raise ZeroDivisionError


def test_nothing_of_the_process_stays_changed():
    """Also where two threads write at a time, and where one fails."""
    emitter, wanted = rtlil.ModuleEmitter, text(Table())
    with ThreadPoolExecutor(2) as pool:
        failed = pool.submit(text, Broken())
        assert list(pool.map(text, [Table() for _ in range(4)])) == [wanted] * 4
    assert isinstance(failed.exception(), ZeroDivisionError)
    assert rtlil.ModuleEmitter is emitter
    assert gc.isenabled()


def test_the_yosys_of_the_system_is_not_used(monkeypatch, tmp_path):
    fake = tmp_path / "yosys"
    fake.write_text("#!/bin/sh\nexit 1\n")
    fake.chmod(0o755)
    wanted = text(Table())
    monkeypatch.setenv("PATH", str(tmp_path), prepend=":")
    assert text(Table()) == wanted


def test_a_yosys_that_fails_is_named(monkeypatch):
    monkeypatch.setattr(verilog, "YOSYS", ("sh", "-c", "cat > /dev/null; echo no >&2; exit 3"))
    with pytest.raises(RuntimeError, match="yosys failed on table: no"):
        text(Table())


def test_a_cache_that_cannot_be_written_is_not_needed(monkeypatch, tmp_path):
    wanted = text(Table())
    for name in ("HOME", "XDG_CACHE_HOME"):
        monkeypatch.setenv(name, "/proc/none")
    assert text(Table()) == wanted
