"""Faults planted in the SDRAM controller: each has a place, and its tests catch it."""

import ast
import tomllib
from pathlib import Path
from typing import Any

import pytest
from bench.faults import Fragment, Sources
from bench.mutants import ROOT, copied, fails

SOC = ROOT / "src/lightmamba/hardware/soc"
LIST = tomllib.loads((ROOT / "tests/soc/mutants/sdram.toml").read_text())
LIMIT_S = 600.0  # a test that takes longer hangs


def test_every_fault_has_one_place_and_other_code_to_put_there():
    sources, seen = Sources(SOC), set()
    for mutant in LIST["mutant"]:
        place = sources.one(mutant["find"], "")
        before, after = Fragment.parse(mutant["find"]), Fragment.parse(mutant["replace"])
        assert after.kind == place.kind, mutant
        assert after.texts != before.texts, mutant
        ast.parse(place.planted(mutant["replace"]))
        seen.add(place.file.name)
    assert len(LIST["mutant"]) >= 12
    assert seen == {
        "clock_queue.py", "sdram_port.py", "sdram_scheduler.py", "sdram_timing.py"
    }  # fmt: skip


@pytest.fixture(scope="module")
def copy(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of the repository, whose tests pass."""
    found = copied(tmp_path_factory.mktemp("mutants"))
    assert not fails(LIST["tests"], found, LIMIT_S)
    return found


@pytest.mark.slow  # half a minute each: a simulator is built
@pytest.mark.parametrize("mutant", LIST["mutant"], ids=lambda m: m["why"])
def test_every_fault_is_caught(mutant: dict[str, Any], copy: Path):
    place = Sources(copy / SOC.relative_to(ROOT)).one(mutant["find"], "")
    original = place.file.read_text()
    place.file.write_text(place.planted(mutant["replace"]))
    try:
        caught = bool(fails(LIST["tests"], copy, LIMIT_S))
    finally:
        place.file.write_text(original)
    assert caught == ("survives" not in mutant)
