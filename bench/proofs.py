"""Prove the properties of the hardware's units, for any inputs and in every cycle.

    python -m bench.proofs [UNIT ...]     (make prove)

The properties are in ``tests/proofs``, next to the faults that break them one by one
(``python -m bench.mutants``). A unit has a row with how many hold by an inductive invariant, how
many were looked at up to a depth only, and how many states were reached that the properties would
be empty without. The run ends with an error at the first property that does not hold.
"""

import hashlib
import time

from tests.proofs import (
    test_bridge,
    test_host,
    test_memory,
    test_rows,
    test_sdram,
    test_streams,
    test_walks,
    test_watch,
    test_words,
)
from tests.proofs.proving import Proof

from bench.common import asked
from bench.stored import Row, keep

__all__ = ["PROOFS", "identity", "main", "prove"]

PROOFS: dict[str, Proof] = {
    unit: proof
    for module in (
        test_streams,
        test_words,
        test_memory,
        test_rows,
        test_walks,
        test_watch,
        test_host,
        test_sdram,
        test_bridge,
    )
    for unit, proof in module.MADE.items()
}


def prove(unit: str) -> dict[str, object]:
    """Row of a unit."""
    proof, seconds = PROOFS[unit], dict[str, float]()
    for name in (*proof.properties, *proof.covers):
        begin = time.monotonic()
        proof.check(name)
        seconds[name] = time.monotonic() - begin
        print(f"{unit}: {name}, {seconds[name]:.1f} s", flush=True)
    return {
        "unit": unit,
        "properties": len(proof.properties),
        "inductive": len(proof.properties) - len(proof.depths),
        "bounded": dict(proof.depths),
        "reached": len(proof.covers),
        "seconds": sum(seconds.values()),
        "slowest": max(seconds, key=lambda name: seconds[name]),
    }


def identity(row: Row) -> str:
    """Hash of a unit's netlist with its properties."""
    text, names = PROOFS[row["unit"]].module
    return hashlib.sha256(repr((text, names)).encode()).hexdigest()[:16]


def main() -> None:
    """Prove the units named, or all."""
    for unit in asked(__doc__, PROOFS).row:
        keep("proofs", prove(unit))


if __name__ == "__main__":
    main()
