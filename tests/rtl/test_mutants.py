"""The lists of planted faults: each fault has a place, and every block has enough of them."""

from collections import Counter

import pytest
from bench.mutants import MUTANTS, RTL, read

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
