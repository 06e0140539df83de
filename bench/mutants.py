"""Plant faults in the code, one at a time, and see which ones the tests catch.

Each file ``tests/*/mutants/BLOCK.toml`` lists pieces of the block's code (``find``), what to put in
their place, and why that is a fault. `bench.faults` finds such a piece by its syntax in whichever
file of the RTL it is, or of the folders ``of`` of the package; one that occurs more than once is
narrowed by ``within``, the name of its class or function. A list whose ``language`` is ``c++``
looks in C++ files, by words, and narrows by the file's name; the engine's library is built for the
instruction set ``isa`` of the list, with each fault, and no better one is in the copy. A fault is
caught when the block's tests fail: those of ``tests/rtl/test_BLOCK.py``, or those named by
``tests`` at the top of the list: first those that ``make test`` keeps, then, if they pass, the slow
ones too. One that cannot be caught has the reason under ``survives``. One that ``breaks``
properties (``tests/proofs``) is caught when none of these is proved any more. Faults are planted in
a copy of the repository, so that other processes never see them and a run that is killed leaves
none; the copy and simulators of faulty machines are kept only as long as their block's list runs.
By hand or nightly, not in CI:

    python -m bench.mutants [--again] [BLOCK ...]

Of the blocks named, or of all: the faults whose sources, list or tests are not those of the results
file; with ``--again`` every fault. Each result is kept at once, so that a run that was stopped goes
on from there. A result says which test caught the fault. The next time that one runs first, and
those next that caught most others of the list: most faults need one test, not all before it.
"""

import argparse
import functools
import hashlib
import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import tomllib
from collections import Counter
from collections.abc import Collection, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from bench.faults import Place, Sources, Text, code_of
from bench.first import FAILED, FIRST
from bench.stored import keep, rows
from lightmamba.common.errors import InputError
from lightmamba.native import ISAS, usable_isas

ROOT = Path(__file__).parents[1]
PACKAGE, RTL = "src/lightmamba", "hardware/rtl"
LISTS = {path.stem: path for path in sorted(ROOT.glob("tests/*/mutants/*.toml"))}
PARTS = ("src", "tests", "bench", "docs", "pyproject.toml")  # of the copy
HANG, LEAST = 10, 120  # a test that takes HANG times as long, and LEAST seconds, hangs: caught
HANGS = "hangs"
NONE = 5  # pytest found no test that is marked so
SLOW = 1800  # seconds after which the slow tests of a block hang


def run(
    block: str, folder: Path, done: Collection[str] = (), known: Mapping[str, str] | None = None
) -> Iterator[dict[str, object]]:
    """Plant the faults of a block, but for those ``done``, in a copy under ``folder``.

    Each row says whether a fault was caught; ``known`` is which test caught each before.
    """
    listed, of, copy = read(block), fingerprint(block), copied(folder)
    sources, tests, isa = sources_of(block, copy), listed["tests"], listed.get("isa")
    libraries(copy, isa)
    begin = time.monotonic()
    proofs = any("breaks" in mutant for mutant in listed["mutant"])
    if fails(tests, copy, None) or (proofs and fails(tests, copy, None, "slow")):
        raise SystemExit(f"{', '.join(tests)} fails without any fault; mend it first")
    limit = max(LEAST, HANG * (time.monotonic() - begin))
    by = dict(known or {})
    for mutant in listed["mutant"]:
        if mutant["why"] in done:
            continue
        place = located(block, mutant, sources)
        faulty, original = place.planted(mutant["replace"]), place.file.read_text()
        place.file.write_text(faulty)
        libraries(copy, isa)
        each = [[f"{tests[0]}::test_is_proved[{name}]"] for name in mutant.get("breaks", ())]
        each, why = each or [tests], mutant["why"]
        often = [name for name, _ in Counter(by.values()).most_common()]
        first = list(dict.fromkeys([by[why], *often])) if why in by else often
        caught = [fails(some, copy, limit, first=first) for some in each]
        if not (kept := all(caught)):
            caught = [fails(some, copy, max(limit, SLOW), "slow", first) for some in each]
        place.file.write_text(original)
        if all(caught):
            by[why] = caught[0]
        yield {
            "block": block, "file": place.file.name, "why": why, "caught": all(caught),
            "kept": kept, "by": caught[0] if all(caught) else "", "of": of,
        }  # fmt: skip


@functools.cache
def faults(block: str) -> set[str]:
    """Descriptions of a block's faults; none if it has no list."""
    return {mutant["why"] for mutant in read(block)["mutant"]} if block in listed() else set()


def planted(block: str, stored: Sequence[Mapping[str, Any]]) -> set[str]:
    """Faults of a block with a stored result of the sources and tests that there are now."""
    of = fingerprint(block)
    return {row["why"] for row in stored if (row["block"], row["of"]) == (block, of)}


def listed() -> list[str]:
    """Blocks that have a list."""
    return sorted(LISTS)


def of_hardware(block: str) -> bool:
    """Whether a block is hardware."""
    return all(folder.startswith("hardware/") for folder in read(block)["of"])


def survivals() -> dict[tuple[str, str], str]:
    """Why a fault cannot be caught, by its block and its description."""
    return {
        (block, mutant["why"]): mutant["survives"]
        for block in listed() for mutant in read(block)["mutant"] if "survives" in mutant
    }  # fmt: skip


def located(block: str, mutant: Mapping[str, str], sources: Sources | Text) -> Place:
    """Where a fault of a block's list is planted.

    Raises
    ------
    SystemExit
        If that is not exactly one place: the list, the piece of code, and what to do.
    """
    try:
        return sources.one(mutant["find"], mutant.get("within", ""))
    except InputError as error:
        raise SystemExit(f"mutants/{block}.toml: {error}") from error


def copied(folder: Path) -> Path:
    """Copy what the tests need, and make sure that this is what they will import.

    Raises
    ------
    SystemExit
        If Python finds the package elsewhere all the same.
    """
    copy = folder / "copy"
    copy.mkdir()
    for part in PARTS:
        if (ROOT / part).is_dir():
            shutil.copytree(ROOT / part, copy / part, ignore=shutil.ignore_patterns("__pycache__"))
        else:
            shutil.copy(ROOT / part, copy / part)
    command = [sys.executable, "-B", "-c", "import lightmamba; print(lightmamba.__file__)"]
    found = subprocess.run(command, cwd=copy, env=environment(copy), capture_output=True, text=True)
    if not Path(found.stdout.strip()).is_relative_to(copy):
        raise SystemExit(f"tests would import {found.stdout.strip()}, not the copy in {copy}; "
                         f"install the project with: pip install -e .")  # fmt: skip
    return copy


def environment(copy: Path) -> dict[str, str]:
    """Variables with which Python imports the copy, and keeps simulators next to it.

    Plugins of pytest that no test of the RTL needs are not loaded.
    """
    own = {"LIGHTMAMBA_TEST_CACHE": str(copy / "cache"), "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1"}
    return os.environ | {"PYTHONPATH": str(copy / "src")} | own


def read(block: str) -> dict[str, Any]:
    """A block's list, the files of its tests, and where its faults are planted."""
    listed = tomllib.loads(LISTS[block].read_text())
    return {"tests": [f"tests/rtl/test_{block}.py"], "of": [RTL], "language": "python"} | listed


def fingerprint(block: str) -> str:
    """Hash of a block's faults, of its tests, and of the sources in which its faults are planted.

    Words for people (comments, docstrings, reasons) may change: no fault has to be planted again.
    """
    listed, sources = read(block), sources_of(block)
    faults = [[m["find"], m["replace"], m.get("within")] for m in listed["mutant"]]
    planted = {located(block, mutant, sources).file for mutant in listed["mutant"]}
    files = [*map(ROOT.joinpath, listed["tests"]), *sorted(planted, key=lambda file: file.name)]
    text = json.dumps([faults, *(code_of(file) for file in files)])
    return hashlib.sha256(text.encode()).hexdigest()[:12]


def sources_of(block: str, root: Path = ROOT) -> Sources | Text:
    """The sources in which a block's faults are planted, in the repository or in a copy."""
    listed = read(block)
    return _sources(listed["language"], *(root / PACKAGE / name for name in listed["of"]))


@functools.cache
def _sources(language: str, *folders: Path) -> Sources | Text:
    """Folders of code, read once."""
    return Text(*folders) if language == "c++" else Sources(*folders)


def libraries(copy: Path, isa: str | None) -> None:
    """Build the engine's library of a copy for an instruction set, if one is given.

    The compiler optimizes less than for an installation; the integers are the same. Better
    libraries are removed, so that the engine takes this one.

    Raises
    ------
    SystemExit
        If this processor does not run the instruction set, or the compiler fails.
    """
    if isa is None:
        return
    if isa not in usable_isas():
        known = ", ".join(usable_isas())
        raise SystemExit(f"this processor does not run {isa}, but {known}; name the other lists")
    for better in ISAS[ISAS.index(isa) + 1 :]:
        (copy / PACKAGE / f"native/_{better}.so").unlink(missing_ok=True)
    path = copy / PACKAGE / f"native/_{isa}.so"
    made = copy.with_name("made")
    build = (
        f"from pathlib import Path; from tests.sanitize.builds import kernels; "
        f"kernels(Path({str(made)!r}), ('-fwrapv',), {isa!r}).replace({str(path)!r})"
    )
    command = [sys.executable, "-B", "-c", build]
    found = subprocess.run(command, cwd=copy, env=environment(copy), capture_output=True, text=True)
    if found.returncode:
        raise SystemExit(f"no library for {isa}: {found.stderr[-2000:]}")


def fails(
    tests: Sequence[str], copy: Path, limit: float | None, chosen: str = "not slow",
    first: Sequence[str] = (),
) -> str:  # fmt: skip
    """The first test of a copy that fails, of those that are marked so; empty if all pass.

    `HANGS` if they take more than ``limit`` seconds, or end without a name. Those of ``first`` run
    first. No bytecode is written: two faults of one length, planted within a second, would share
    it.
    """
    options = ["-x", "-q", "-p", "no:cacheprovider", "-p", "bench.first", "-m", chosen]
    command = [sys.executable, "-B", "-m", "pytest", *options, *tests]
    name = copy.with_name("failed")
    name.write_text(HANGS)
    env = environment(copy) | {FIRST: json.dumps(first), FAILED: str(name)}
    try:
        found = subprocess.run(command, cwd=copy, env=env, capture_output=True, timeout=limit)
    except subprocess.TimeoutExpired:
        return HANGS
    if found.returncode in (-signal.SIGTERM, -signal.SIGKILL):
        raise SystemExit(f"somebody ended the run of {', '.join(tests)}; start again")
    return "" if found.returncode in (0, NONE) else name.read_text()


def main() -> None:
    """Run what changed of the blocks named, or of all; the results file keeps the others."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("block", nargs="*", help="name of a list (all)")
    parser.add_argument("--again", action="store_true", help="also faults whose result is current")
    args = parser.parse_args()
    stored = rows("mutants")  # a run changes only the rows of its own block
    for block in args.block or listed():
        done = set() if args.again else planted(block, stored)
        if faults(block) <= done:
            print(f"{block}: all {len(done)} results are of today's source (--again plants them)")
            continue
        mine = [row for row in stored if row["block"] == block]
        by = {row["why"]: row["by"] for row in mine if row.get("by")}
        with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as folder:
            for row in run(block, Path(folder), done, by):
                keep("mutants", row, stay=lambda old: old["why"] in faults(old["block"]))


if __name__ == "__main__":
    main()
