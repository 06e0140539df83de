"""Every property is broken by a planted fault; ``python -m bench.mutants`` plants them."""

import re

from bench.mutants import listed, read
from bench.proofs import PROOFS


def plain(name: str) -> str:
    """A property of one of several clients, outputs or strides, as that of any."""
    return re.sub(r"\d+", "#", name)


def test_every_property_has_a_fault():
    properties = {
        plain(f"{unit}-{name}") for unit, proof in PROOFS.items() for name in proof.properties
    }
    broken = {
        plain(name)
        for block in listed() for fault in read(block)["mutant"] for name in fault.get("breaks", ())
    }  # fmt: skip
    assert broken == properties
