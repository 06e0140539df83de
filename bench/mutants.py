"""Plant faults in the gates, one at a time, and see which ones the tests catch.

Each file ``tests/rtl/mutants/BLOCK.toml`` lists exact pieces of the block's source, what to put in
their place, and why that is a fault. A fault is caught when the block's own test fails; one that
cannot be has the reason under ``survives``. The source is restored whatever happens. By hand or
nightly, not in CI:

    python -m bench.mutants [BLOCK ...]
"""

import argparse
import json
import subprocess
import sys
import tomllib
from pathlib import Path

from bench.common import RESULTS, write_results

ROOT = Path(__file__).parents[1]
RTL, MUTANTS = ROOT / "src/lightmamba/rtl", ROOT / "tests/rtl/mutants"
LIMIT = 600  # seconds of one run of a block's test; a hang counts as caught


def run(block: str) -> list[dict[str, object]]:
    """Plant every fault of a block; say for each whether it was caught."""
    source, tests = RTL / f"{block}.py", ROOT / "tests/rtl" / f"test_{block}.py"
    original = source.read_text()
    rows: list[dict[str, object]] = []
    try:
        for mutant in tomllib.loads((MUTANTS / f"{block}.toml").read_text())["mutant"]:
            if original.count(mutant["find"]) != 1:
                raise SystemExit(f"{block}: {mutant['find']!r} does not occur exactly once")
            source.write_text(original.replace(mutant["find"], mutant["replace"]))
            caught = fails(tests)
            rows.append({"block": block, "why": mutant["why"], "caught": caught})
            if "survives" in mutant:
                rows[-1]["survives"] = mutant["survives"]
            print(f"{block:12} {'caught' if caught else 'SURVIVED':9} {mutant['why']}", flush=True)
    finally:
        source.write_text(original)
    return rows


def fails(tests: Path) -> bool:
    """Whether a test file fails or hangs."""
    command = [sys.executable, "-m", "pytest", "-x", "-q", "-p", "no:cacheprovider", str(tests)]
    try:
        return subprocess.run(command, cwd=ROOT, capture_output=True, timeout=LIMIT).returncode != 0
    except subprocess.TimeoutExpired:
        return True


def main() -> None:
    """Run the blocks named, or all; the results file keeps the others."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("block", nargs="*", help="file under tests/rtl/mutants (all)")
    blocks = parser.parse_args().block or sorted(p.stem for p in MUTANTS.glob("*.toml"))
    path = RESULTS / "mutants.json"
    rows = json.loads(path.read_text())["results"]["rows"] if path.is_file() else []
    for block in blocks:
        if fails(ROOT / "tests/rtl" / f"test_{block}.py"):
            raise SystemExit(f"the test of {block} fails as it is; mend it first")
        rows = [row for row in rows if row["block"] != block] + run(block)
        caught = sum(bool(row["caught"]) for row in rows)
        results = {"caught": caught, "planted": len(rows), "rows": rows}
        write_results("mutants", "python -m bench.mutants", results)
    print(f"{caught} of {len(rows)} caught ({100 * caught / len(rows):.0f} %)")


if __name__ == "__main__":
    main()
