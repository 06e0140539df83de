"""A unit is added by its entries in the graph and its file: those of docs/howto/add-a-block.md."""

import json
import os
import shutil
import sys
from pathlib import Path

import pytest

from lightmamba.tools import run
from tests.docs.pages import ROOT, blocks

PAGE = ROOT / "docs/howto/add-a-block.md"
# Kernels stay Python here: to compile them for the copy would take a minute.
ASK = """
import json
from lightmamba.arch.config import ArchConfig
from lightmamba.machine.describe import tables
from lightmamba.machine.probes import probes
from lightmamba.arch.target import Target
from lightmamba.config import mamba2_config
from lightmamba.estimate import estimate, model
from lightmamba.formats import Formats
from lightmamba.sim.activity import UNITS

model.TOKENS = 2
config = mamba2_config(64, 2, 53, d_state=16, headdim=16, ngroups=2)
found = estimate(config, Formats(), Target.load("tiny"))
rows = {name: [line for line in text.splitlines() if "limit" in line]
        for name, text in tables().items()}
print(json.dumps({
    "cycles": found.cycles, "unit_cycles": found.unit_cycles,
    "rows": {name: found for name, found in rows.items() if found},
    "probes": [p.name for p in probes(ArchConfig())], "work": [name for name, _, _ in UNITS],
}))
"""
VERILOG = """
from lightmamba.arch.config import ArchConfig
from lightmamba.rtl.top import to_verilog
print(to_verilog(ArchConfig(
    lanes=1, state_elements=32, state_port_bits=128, in_channels=128, out_channels=128, heads=2,
    padded_state=32,
), observed=True))
"""


def changed(source: str, diff: str) -> str:
    """Apply a diff, each of whose hunks has one place."""
    for hunk in diff.split("\n@@")[1:]:
        lines = [line for line in hunk.splitlines()[1:] if line]
        old, new = (
            "".join(line[1:] + "\n" for line in lines if line[0] in kept) for kept in (" -", " +")
        )
        assert source.count(old) == 1, old
        source = source.replace(old, new)
    return source


@pytest.fixture(scope="module")
def ask(tmp_path_factory):
    """Run a script in the project as it is, or in a copy to which the page's unit was added."""
    source, copy = ROOT / "src", tmp_path_factory.mktemp("copy")
    shutil.copytree(
        source / "lightmamba", copy / "lightmamba",
        ignore=shutil.ignore_patterns("__pycache__", "*.so", "data"),
    )  # fmt: skip
    (file,) = (b.text for b in blocks(PAGE) if b.kind == "python")
    (diff,) = (b.text for b in blocks(PAGE) if b.kind == "diff")
    (copy / "lightmamba/rtl/limit.py").write_text(file)
    machine = copy / "lightmamba/arch/machine.py"
    machine.write_text(changed(machine.read_text(), diff))

    def answer(script: str, folder: Path = copy) -> str:
        settings = {
            "NUMBA_DISABLE_JIT": "1",
            "XDG_CACHE_HOME": str(copy),
            "PYTHONPATH": str(folder),
        }
        return run([sys.executable, "-c", script], os.environ | settings)

    return answer


@pytest.mark.slow
def test_two_places_are_enough(ask):
    ours, theirs = json.loads(ask(ASK)), json.loads(ask(ASK, ROOT / "src"))
    # Estimate: the unit's work, and its latency on the way to out_proj.
    assert ours["unit_cycles"]["limit"] == 2 * 256
    assert "limit" not in theirs["unit_cycles"]
    assert ours["cycles"] > theirs["cycles"]
    # Probe, timeline and docs.
    assert set(ours["probes"]) - set(theirs["probes"]) == {"limited"}
    assert set(ours["work"]) - set(theirs["work"]) == {"limit"}
    assert {name: len(rows) for name, rows in ours["rows"].items()} == {
        "units": 1, "streams": 2, "probes": 1,
    }  # fmt: skip
    assert theirs["rows"] == {}


@pytest.mark.slow
def test_it_is_wired(ask):
    text = ask(VERILOG)
    assert "\\limit  \\limit" in text or " limit (" in text
    assert "probe_limited__valid" in text
