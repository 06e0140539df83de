"""The page of Mamba2-2.7B on the U280 in the docs, from stored results: ``python -m bench.page``.

What it shows was stored by ``bench.synth``, ``bench.accuracy`` and ``explore``; nothing is
simulated here. Simulated figures and the timeline are on it where the simulation of the same target
is stored:

    lightmamba compile mamba2-2.7b --target u280 -o build
    lightmamba simulate build --max-tokens 2 --chain 2 \\
        --results bench/results/simulation-u280.jsonl
"""

import tempfile
from contextlib import chdir
from pathlib import Path

from bench.stored import RESULTS, rows
from lightmamba.cli import main as lightmamba
from lightmamba.common.store import Record, Store, read_store

ROOT = RESULTS.parent.parent
PAGE = ROOT / "docs/reports/mamba2-2.7b-u280.html"
STORED = ("simulation-u280", "front-u280", "accuracy")  # files of records
MACHINE = "u280, mamba2-2.7b"


def main() -> int:
    """Write the page."""
    PAGE.parent.mkdir(exist_ok=True)
    synthesized = next(row for row in rows("synth") if row["machine"] == MACHINE)
    synthesis = Record("synthesis", synthesized | {"target": "u280"}, {"kind": "synthesis"})
    with tempfile.TemporaryDirectory() as work, chdir(work):
        file = Path("results.jsonl")  # as the page names it
        with Store(file, "--results") as store:
            store.add(synthesis)
            for name in STORED:
                if (path := RESULTS / f"{name}.jsonl").is_file():
                    for record in read_store(path):
                        store.add(record)
        words = ["report", "mamba2-2.7b", "--target", "u280", "-o", str(PAGE)]
        return lightmamba([*words, "--results", str(file), "--force"])


if __name__ == "__main__":
    raise SystemExit(main())
