"""From Verilog and a harness to a shared object, kept in a cache by what it was made from."""

import hashlib
import logging
import re
import shutil
import tempfile
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from lightmamba.common.files import replace_file
from lightmamba.common.locks import held
from lightmamba.common.tools import cache_folder, drop_unused, is_cached, run
from lightmamba.device.sim.tools import (
    Compiler,
    Verilator,
    find_compiler,
    find_verilator,
    processor,
)

__all__ = ["CACHE", "FAST", "FOLDER", "VERILATOR_FLAGS", "build_library"]

log = logging.getLogger(__name__)
CACHE = "simulators"  # folder of the user's cache
# What this module and device.py put there, the rest of a build that was killed included.
OWN = r"\w+-[0-9a-f]{20}(\.so|\.v|\.lock|\.\d+\.tmp)?|building-\w+"
FOLDER = Path(__file__).parent
DSP = FOLDER / "dsp48e2.v"  # the model of a primitive, of designs that instantiate it
HEADERS = tuple(sorted(FOLDER.glob("*.hpp")))  # that harnesses include
VERILATOR_FLAGS = (
    "--cc", "-O3", "--x-assign", "fast", "--x-initial", "fast", "--noassert", "--no-timing",
    "-Wno-fatal", "-Wno-lint", "-Wno-style", "--prefix", "Vtop",
)  # fmt: skip
COMPILER_FLAGS = (
    "-std=c++20", "-march=native", "-fPIC", "-fvisibility=hidden", "-fno-strict-aliasing", "-w",
    "-DVL_TIME_CONTEXT", "-DVM_COVERAGE=0", "-DVM_SC=0", "-DVM_TIMING=0", "-DVM_TRACE_VCD=0",
)  # fmt: skip
# -O2 takes a third longer to compile than -O1 and runs no faster, since Verilator optimizes first;
# -march=native doubles what clang gives.
FAST, ONCE = "-O1", "-O0"
# Bytes of C++ that one compiler takes at a time: each costs half a second to start, but FAST in one
# piece would lose a tenth of its speed.
UNIT = {"FAST": 300_000, "SLOW": 4_000_000}


def build_library(
    verilog: str,
    top: str,
    harness: Path,
    design: Callable[[str], str],
    parts: Sequence[object] = (),
    *,
    trace: bool = False,
    cache: Path | None = None,
    jobs: int = 2,
    level: str = FAST,
) -> Path:
    """Compile a harness with a design, or find it in the cache.

    Of processes that want the same one, one builds it and the others wait. Libraries that
    were not used for a month are removed when another one is built.

    Parameters
    ----------
    verilog
        Source text of all modules.
    top
        Name of the top module.
    harness
        C++ that includes ``Vtop.h`` and ``design.hpp``.
    design
        Makes ``design.hpp`` from the text of ``Vtop.h``.
    parts
        What else ``design`` depends on.
    trace
        Whether it can write waveforms, which costs speed.
    cache
        Folder to keep it in, by default ``$XDG_CACHE_HOME/lightmamba/simulators`` or the same
        under ``~/.cache``.
    jobs
        Compilers that run at a time.
    level
        Their optimization.

    Raises
    ------
    InputError
        If a tool is missing or fails.
    """
    verilator, compiler = find_verilator(), find_compiler()
    key = hashlib.sha256()
    for part in (
        verilog, top, *parts, trace, verilator.version, compiler.version, processor(), level,
    ):  # fmt: skip
        key.update(repr(part).encode())
    for source in (harness, *HEADERS, DSP, Path(__file__)):
        key.update(source.read_bytes())
    folder = cache_folder(CACHE, cache)
    library = folder / f"{top}-{key.hexdigest()[:20]}.so"
    if is_cached(library) and _is_whole(library):
        log.info("simulator %s: from the cache", library)
        return library
    with held(library.with_suffix(".lock")):
        if is_cached(library):
            if _is_whole(library):
                log.info("simulator %s: another process has built it", library)
                return library
            log.warning("simulator %s: damaged, it is built again", library)
        log.info("simulator %s: to be built", library)
        drop_unused(folder, OWN)
        work = Path(tempfile.mkdtemp(prefix="building-", dir=folder))
        try:
            text = _with_registered_reset(verilog, top)
            if f" {DSP.stem.upper()} " in verilog:
                text += DSP.read_text(encoding="utf-8")
            (work / "top.v").write_text(text, encoding="utf-8")
            _verilate(verilator, work, top, trace)
            header = (work / "Vtop.h").read_text()
            (work / "design.hpp").write_text(design(header))
            _compile(verilator, compiler, harness, work, folder, level, trace, jobs)
            _seal(work / "simulator.so")
            replace_file(work / "simulator.so", library)
        finally:
            shutil.rmtree(work, ignore_errors=True)
    return library


def _seal(library: Path) -> None:
    """Append the hash of a library to it, which whoever loads it ignores."""
    digest = hashlib.sha256(library.read_bytes()).digest()
    with library.open("ab") as file:
        file.write(digest)


def _is_whole(library: Path) -> bool:
    """Whether a library is as it was sealed; one that is damaged would end the process."""
    content = library.read_bytes()
    size = hashlib.sha256().digest_size
    return hashlib.sha256(content[:-size]).digest() == content[-size:]


def _with_registered_reset(verilog: str, top: str) -> str:
    """Put a register before the reset of a top level that yosys wrote; leave others alone.

    Nearly every value depends on the reset. If that is an input, Verilator computes all of them
    again whenever inputs may have changed; after a register it runs a third faster.
    """
    begin = re.search(rf"^module {re.escape(top)}\(([^)]*)\);", verilog, re.MULTILINE)
    if begin is None:
        return verilog
    body = verilog[begin.end() : verilog.find("endmodule", begin.end())]
    found = re.findall(r"^  (input|output)( \[\d+:\d+\])? (\w+) ?;$", body, re.MULTILINE)
    names = [name for _, _, name in found]
    if sorted(names) != sorted(re.findall(r"\w+", begin[1])) or not {"clk", "rst"} <= set(names):
        return verilog
    ports = ", ".join(f"{direction}{bits} {name}" for direction, bits, name in found)
    wires = ", ".join(f".{n}({'registered_reset' if n == 'rst' else n})" for n in names)
    core = verilog[: begin.start()] + f"module {top}_core({begin[1]});" + verilog[begin.end() :]
    return f"""{core}
module {top}({ports});
  reg registered_reset;
  always @(posedge clk) registered_reset <= rst;
  {top}_core core({wires});
endmodule
"""


def _verilate(verilator: Verilator, work: Path, top: str, trace: bool) -> None:
    run(
        [
            verilator.program,
            *VERILATOR_FLAGS,
            *(["--trace-fst"] if trace else []),
            *("--top-module", top, "--Mdir", str(work), str(work / "top.v")),
        ],
        {"VERILATOR_ROOT": str(verilator.root)},
    )


def _compile(
    verilator: Verilator,
    compiler: Compiler,
    harness: Path,
    work: Path,
    folder: Path,
    level: str,
    trace: bool,
    jobs: int,
) -> None:
    """Compile the parts, the largest first, and link them."""
    base = [compiler.program, *COMPILER_FLAGS]
    base += [f"-DVM_TRACE={int(trace)}", f"-DVM_TRACE_FST={int(trace)}"]
    if compiler.gnu:
        base.append("-fno-gnu-unique")  # two simulators in a process share nothing
    base += ["-isystem", str(verilator.include), "-isystem", str(verilator.include / "vltstd")]
    own = [*base, "-I", str(work), "-I", str(FOLDER)]

    parts = (work / "Vtop_classes.mk").read_text()
    runtime = [verilator.include / f"{name}.cpp" for name in _listed(parts, "VM_GLOBAL_FAST")]
    todo = [(harness, work / "harness.o", [*own, level])]
    for kind, of_kind in (("FAST", level), ("SLOW", ONCE)):
        names = _listed(parts, f"VM_CLASSES_{kind}") + _listed(parts, f"VM_SUPPORT_{kind}")
        # A megabyte of declarations that every unit includes: compiled once.
        header = work / f"{kind}.h"
        header.write_text('#include "Vtop__Syms.h"\n')
        run([*own, of_kind, "-x", "c++-header", str(header), "-o", f"{header}.gch"])
        command = [*own, of_kind, "-include", str(header)]
        for unit in _units([work / f"{name}.cpp" for name in names], work, kind):
            todo.append((unit, unit.with_suffix(".o"), command))
    # Verilator's own part is the same for every design.
    same = hashlib.sha256(repr((verilator, compiler, processor(), base)).encode()).hexdigest()[:20]
    shared = folder / f"runtime-{same}"
    if not is_cached(shared):
        shared.mkdir(exist_ok=True)
    todo += [(source, shared / f"{source.stem}.o", [*base, FAST]) for source in runtime]

    def compile_one(job: tuple[Path, Path, list[str]]) -> str:
        source, target, command = job
        if not target.is_file():
            fresh = work / f"new-{target.name}"
            run([*command, "-c", str(source), "-o", str(fresh)])
            replace_file(fresh, target)
        return str(target)

    with ThreadPoolExecutor(jobs) as pool:
        objects = list(pool.map(compile_one, todo))
    libraries = [*(["-lz"] if trace else []), *compiler.libraries]
    output = str(work / "simulator.so")
    run([compiler.program, "-shared", "-o", output, *objects, *libraries, "-lpthread"])


def _listed(parts: str, name: str) -> list[str]:
    """Names in one of the lists of Verilator's makefile."""
    found = re.search(rf"^{name} \+= \\\n((?:[ \t]+.*\n)*)", parts, re.MULTILINE)
    return re.findall(r"[\w$]+", found[1] if found else "")


def _units(files: Sequence[Path], work: Path, kind: str) -> list[Path]:
    """Join small files, for each pays for the same large headers."""
    units: list[Path] = []
    left = 0
    for file in files:
        size = file.stat().st_size
        if not units or size > left:
            units.append(work / f"{kind}{len(units)}.cpp")
            left = UNIT[kind]
        left -= size
        with units[-1].open("a") as unit:
            unit.write(f'#include "{file.name}"\n')
    return units
