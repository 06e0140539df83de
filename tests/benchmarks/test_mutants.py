"""The lists of planted faults: each fault has a place, and every block has enough of them."""

import ast
import itertools
import shutil
import sys
from collections import Counter
from pathlib import Path

import pytest
from bench import mutants
from bench.faults import Fragment, Sources
from bench.mutants import (
    HANGS,
    PACKAGE,
    ROOT,
    copied,
    environment,
    fails,
    faults,
    fingerprint,
    listed,
    located,
    read,
    sources_of,
    survivals,
)
from bench.stored import rows
from bench.tables import hardware, printer

from lightmamba.common.tools import run

BLOCKS = listed()
RTL = ROOT / PACKAGE / mutants.RTL
OF_RTL = [block for block in BLOCKS if read(block)["of"] == [mutants.RTL]]


@pytest.mark.parametrize("block", BLOCKS)
def test_every_fault_has_one_place(block):
    """And other code to put there, which no other fault of the list puts there."""
    found, sources = read(block)["mutant"], sources_of(block)
    for mutant in found:
        place = located(block, mutant, sources)
        if place.kind == "text":
            assert mutant["find"].split() != mutant["replace"].split()
            continue
        before, after = Fragment.parse(mutant["find"]), Fragment.parse(mutant["replace"])
        assert after.kind == place.kind, mutant
        assert after.texts != before.texts, mutant
        ast.parse(place.planted(mutant["replace"]))
    each = Counter((m["find"], m.get("within"), m["replace"]) for m in found)
    assert max(each.values()) == 1


@pytest.mark.parametrize("block", BLOCKS)
def test_every_block_has_ten(block):
    assert len(read(block)["mutant"]) >= 10


@pytest.mark.parametrize("block", BLOCKS)
def test_its_tests_are_there(block):
    assert [test for test in read(block)["tests"] if not (ROOT / test).is_file()] == []


def test_every_file_of_the_rtl_is_in_a_list():
    """But for those without hardware of their own: names, layouts, and the way to Verilog."""
    planted = {located(b, m, sources_of(b)).file.name for b in OF_RTL for m in read(b)["mutant"]}
    files = {path.name for path in RTL.rglob("*.py")}
    assert files - planted == {"__init__.py", "layouts.py", "verilog.py"}


def test_every_survivor_is_explained():
    """In the results of the last runs; the docs mark a list that was not run."""
    found = rows("mutants")
    missing = set(BLOCKS) - {row["block"] for row in found}
    pages = ("docs/explanation/one-token.md", "docs/developer/promises.md")
    lines = [line for page in pages for line in (ROOT / page).read_text().split("\n")]
    marked = {line.split(" | ")[0][2:] for line in lines if "not run yet" in line}
    assert marked == missing
    left = [row for row in found if not row["caught"]]
    survives = survivals()
    assert [row["why"] for row in left if (row["block"], row["why"]) not in survives] == []
    assert len(left) <= 0.02 * len(found)


def test_a_list_that_was_planted_in_part_is_marked(monkeypatch):
    """Unless every fault is one of the source of today, the last one as well."""
    found = [
        {"block": "gate", "why": why, "caught": True, "kept": True, "of": fingerprint("gate")}
        for why in sorted(faults("gate"))
    ]
    monkeypatch.setattr(hardware, "listed", lambda: ["gate"])
    monkeypatch.setattr(printer, "rows", lambda name: found)
    assert [row[0] for row in hardware.mutants(hardware=True).body] == ["1 other blocks", "total"]
    found[-1]["of"] = "before"
    assert hardware.mutants(hardware=True).body[0][0] == "gate (of an earlier source)"


def found_in(folder):
    """File and class or function of every fault, with the sources of a folder."""
    sources = Sources(folder)
    places = [
        located(block, mutant, sources) for block in OF_RTL for mutant in read(block)["mutant"]
    ]
    return [(place.file.name, place.within) for place in places]


def test_moved_code_has_the_same_places(tmp_path):
    """Every class and function goes to another file; what else a file has stays."""
    for file in RTL.rglob("*.py"):
        body = ast.parse(file.read_text()).body
        for moves, name in ((False, file.name), (True, f"moved_{file.name}")):
            part = [n for n in body if isinstance(n, ast.ClassDef | ast.FunctionDef) == moves]
            (tmp_path / name).write_text(ast.unparse(ast.Module(part, [])))
    expected = [(f"moved_{file}" if within else file, within) for file, within in found_in(RTL)]
    assert sum(bool(within) for _, within in expected) > len(expected) // 2
    assert found_in(tmp_path) == expected


def test_a_fault_without_a_place_names_its_list(tmp_path):
    (tmp_path / "unit.py").write_text("ready.eq(room)\n")
    mutant = {"find": "ready.eq(rooms)", "replace": "ready.eq(1)"}
    with pytest.raises(SystemExit, match=r"mutants/unit\.toml: 'ready.eq\(rooms\)' occurs 0 times"):
        located("unit", mutant, Sources(tmp_path))


def test_faults_are_planted_in_a_copy_only(tmp_path, monkeypatch):
    """Whatever ends a run, the source is whole: the tests see the faults, nobody else does."""
    block, seen = BLOCKS[0], []
    three = read(block)["mutant"][:3]
    places = [located(block, mutant, sources_of(block)) for mutant in three]
    source = places[0].file
    original = source.read_text()

    def look(tests, copy, limit, *_, **_first):
        assert source.read_text() == original
        command = [
            sys.executable,
            "-c",
            f"import lightmamba.hardware.rtl.{source.stem} as b; print(b.__file__)",
        ]
        found = Path(run(command, environment(copy), copy).strip())
        seen.append(found.read_text())
        if len(seen) == 4:
            raise KeyboardInterrupt
        return "a test" if len(seen) > 1 else ""

    monkeypatch.setattr(mutants, "fails", look)
    with pytest.raises(KeyboardInterrupt):
        list(mutants.run(block, tmp_path))
    assert source.read_text() == original
    assert seen[0] == original
    assert seen[1:] == [p.planted(m["replace"]) for p, m in zip(places, three, strict=True)]


def test_faults_that_are_done_are_not_planted_again(tmp_path, monkeypatch):
    block, answers = BLOCKS[0], iter(["", "a test"])
    *done, last = (mutant["why"] for mutant in read(block)["mutant"])
    monkeypatch.setattr(mutants, "fails", lambda *_, **_first: next(answers))
    (row,) = mutants.run(block, tmp_path, done)
    assert (row["why"], row["kept"], row["by"]) == (last, True, "a test")


def test_what_caught_a_fault_runs_first(tmp_path, monkeypatch):
    """Then what caught most others of the list."""
    block, asked = BLOCKS[0], []

    def look(tests, copy, limit, *_, first=()):
        asked.append(list(first))
        return "" if len(asked) == 1 else "often" if len(asked) < 4 else "b"

    monkeypatch.setattr(mutants, "fails", look)
    why = [mutant["why"] for mutant in read(block)["mutant"]][:5]
    list(itertools.islice(mutants.run(block, tmp_path, (), {why[3]: "a"}), 5))
    assert asked == [
        [], ["a"], ["a", "often"], ["often", "a"], ["a", "often", "b"], ["b", "often"],
    ]  # fmt: skip


def test_the_test_that_fails_is_named(tmp_path):
    copy = tmp_path / "copy"
    (copy / "bench").mkdir(parents=True)
    shutil.copy(ROOT / "bench/first.py", copy / "bench")
    (copy / "test_it.py").write_text(
        "def test_a():\n    assert 0\ndef test_b():\n    assert 0\ndef test_c():\n    pass\n"
    )
    first = ["test_it.py::test_c", "test_it.py::test_b"]
    assert fails(["test_it.py"], copy, None) == "test_it.py::test_a"
    assert fails(["test_it.py"], copy, None, first=first) == "test_it.py::test_b"
    assert fails(["test_it.py::test_c"], copy, None, first=first) == ""
    assert fails(["test_it.py"], copy, 0.01) == HANGS


def test_a_copy_that_would_not_be_imported_is_refused(tmp_path, monkeypatch):
    """As with an editable installation that comes before PYTHONPATH."""
    monkeypatch.setattr(mutants, "environment", lambda _: {"PYTHONPATH": str(ROOT / "src")})
    with pytest.raises(SystemExit, match=r"tests would import .*, not the copy in"):
        copied(tmp_path)
