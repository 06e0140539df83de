"""The page of Mamba2-2.7B on the U280 in the docs, from stored results: ``python -m bench.page``.

What it shows was stored by ``bench.synth``, ``bench.accuracy`` and ``explore``; nothing is
simulated here. Simulated figures and the timeline are on it where the simulation of the same target
is stored:

    lightmamba compile mamba2-2.7b --target u280 -o build
    lightmamba simulate build --max-tokens 2 --chain 2 \\
        --timeline bench/results/simulation-u280.json
"""

import json
import shutil
import tempfile
from contextlib import chdir
from pathlib import Path

from bench.common import RESULTS
from lightmamba.cli import main as lightmamba

ROOT = RESULTS.parent.parent
PAGE = ROOT / "docs/reports/mamba2-2.7b-u280.html"
STORED = {"simulation": "simulation-u280", "accuracy": "accuracy", "front": "front-u280"}
MACHINE = "u280, mamba2-2.7b"


def main() -> int:
    """Write the page."""
    PAGE.parent.mkdir(exist_ok=True)
    with tempfile.TemporaryDirectory() as work, chdir(work):
        folder = Path("results")  # as the page names it
        folder.mkdir()
        for name, stored in STORED.items():
            if (file := RESULTS / f"{stored}.json").is_file():
                shutil.copy(file, folder / f"{name}.json")
        synthesized = json.loads((RESULTS / "synth.json").read_text())["results"]["machines"]
        (folder / "synthesis.json").write_text(
            json.dumps({"target": "u280", **synthesized[MACHINE]})
        )
        words = ["report", "mamba2-2.7b", "--target", "u280", "-o", str(PAGE)]
        return lightmamba([*words, "--results", str(folder), "--force"])


if __name__ == "__main__":
    raise SystemExit(main())
