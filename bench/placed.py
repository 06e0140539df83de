"""A machine of 32 weights and 32 state elements through yosys and nextpnr, whole or by block.

    python -m bench.placed [BLOCK ...] [--whole]

Each block that holds no other is placed and routed alone, in a frame of registers, which says what
its own logic allows; the whole machine adds the ways between blocks. The machine is that of an
earlier target, four times as wide as a ULX3S's. Without names, the blocks that changed since the
results file was written; it keeps the others.
"""

import argparse
import hashlib
import time
from typing import Any

from bench.stored import keep, rows
from bench.synth import PLACED, machines
from lightmamba.errors import InputError
from lightmamba.rtl.top import to_verilog
from lightmamba.synth import place
from lightmamba.synth.ecp5 import LIMIT_S
from lightmamba.synth.hierarchy import TOP, Block, blocks, whole

WHOLE = "machine"


def parts(verilog: str, top: str) -> dict[str, Block]:
    """Blocks that hold no other by name, equal ones once; and the whole."""
    distinct: dict[str, Block] = {}
    for block in blocks(verilog, top):
        if not block.cut:
            distinct.setdefault(block.verilog, block)
    return {b.name: b for b in distinct.values()} | {WHOLE: whole(verilog, top)}


def measure(name: str, block: Block, limit_s: float) -> dict[str, Any]:
    """Place and route one; without a frequency where nextpnr finds no way, or none in time."""
    begin = time.perf_counter()
    row: dict[str, Any] = {"block": name, "of": fingerprint(block)}
    try:
        row |= place(block.verilog, TOP, limit_s=limit_s).as_dict()
    except InputError as error:
        row |= {"fmax_mhz": None, "error": str(error)}
    return row | {"seconds": time.perf_counter() - begin}


def fingerprint(block: Block) -> str:
    """Hash of a block's text."""
    return hashlib.sha256(block.verilog.encode()).hexdigest()[:12]


def main() -> None:
    """Run the blocks named, or those that changed."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("block", nargs="*", help="name of a block (those that changed)")
    parser.add_argument("--whole", action="store_true", help="the machine too, which takes an hour")
    parser.add_argument(
        "--limit", type=float, default=LIMIT_S, help=f"seconds for nextpnr (default: {LIMIT_S:g})"
    )
    args = parser.parse_args()
    known = parts(to_verilog(machines()[PLACED]), "lightmamba")
    if unknown := set(args.block) - set(known):
        raise SystemExit(f"there is no block {min(unknown)}; there are {', '.join(known)}")
    done = {row["block"]: row["of"] for row in rows("ecp5")}
    wanted = args.block or [n for n, b in known.items() if done.get(n) != fingerprint(b)]
    for name in sorted(wanted, key=lambda n: len(known[n].verilog)):
        if name == WHOLE and not (args.whole or args.block):
            continue
        row = measure(name, known[name], args.limit)
        print(f"{name:32} {row['fmax_mhz'] or 0:6.1f} MHz {row['seconds']:6.0f} s", flush=True)
        keep("ecp5", row, stay=lambda old: old["block"] in known)


if __name__ == "__main__":
    main()
