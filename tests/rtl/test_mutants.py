"""The lists of planted faults: each fault has a place, and every block has enough of them."""

import sys
from collections import Counter
from pathlib import Path

import pytest
from bench import mutants
from bench.mutants import MUTANTS, ROOT, RTL, copied, environment, read

from lightmamba.tools import run

BLOCKS = sorted(path.stem for path in MUTANTS.glob("*.toml"))


@pytest.mark.parametrize("block", BLOCKS)
def test_every_fault_has_one_place(block):
    source, found = (RTL / f"{block}.py").read_text(), read(block)["mutant"]
    assert {m["find"]: source.count(m["find"]) for m in found} == {m["find"]: 1 for m in found}
    assert not {m["why"] for m in found if m["replace"] in source and m["find"] == m["replace"]}
    assert max(Counter((m["find"], m["replace"]) for m in found).values()) == 1


@pytest.mark.parametrize("block", BLOCKS)
def test_every_block_has_ten(block):
    assert len(read(block)["mutant"]) >= 10


def test_faults_are_planted_in_a_copy_only(tmp_path, monkeypatch):
    """Whatever ends a run, the source is whole: the tests see the faults, nobody else does."""
    block, seen = BLOCKS[0], []
    original = (RTL / f"{block}.py").read_text()

    def look(tests, copy, limit):
        assert (RTL / f"{block}.py").read_text() == original
        command = [sys.executable, "-c", f"import lightmamba.rtl.{block} as b; print(b.__file__)"]
        found = Path(run(command, environment(copy), copy).strip())
        seen.append(found.read_text())
        if len(seen) == 4:
            raise KeyboardInterrupt
        return len(seen) > 1

    monkeypatch.setattr(mutants, "fails", look)
    with pytest.raises(KeyboardInterrupt):
        mutants.run(block, tmp_path)
    assert (RTL / f"{block}.py").read_text() == original
    assert seen[0] == original
    faults = [original.replace(m["find"], m["replace"]) for m in read(block)["mutant"][:3]]
    assert seen[1:] == faults


def test_a_copy_that_would_not_be_imported_is_refused(tmp_path, monkeypatch):
    """As with an editable installation that comes before PYTHONPATH."""
    monkeypatch.setattr(mutants, "environment", lambda _: {"PYTHONPATH": str(ROOT / "src")})
    with pytest.raises(SystemExit, match=r"tests would import .*, not the copy in"):
        copied(tmp_path)
