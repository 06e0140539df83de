"""Passes of several tokens against cycles of the gates, simulated and stored by ``bench``."""

import pytest
from bench.common import kept_rows
from bench.passes_estimates import machines

from lightmamba.arch.target import Target
from lightmamba.config import SHAPES
from lightmamba.estimate.model import estimate_pass
from lightmamba.estimate.workload import Workload, modes
from lightmamba.formats import Formats

WITHIN = 0.01
WHOLE = [row for row in kept_rows("passes") if row["mode"] in ("prefill", "batch", "verify")]


@pytest.mark.parametrize("row", kept_rows("passes_estimates"), ids=lambda row: row["machine"])
def test_passes(row):
    """If the gates have changed: ``python -m bench.passes_estimates``."""
    config, target = machines()[row["machine"]]
    work = Workload.of(config, Formats(), target, "reordered")
    for mode in modes(work.arch):
        found = estimate_pass(work.of_mode(mode), area={}).cycles
        assert found == pytest.approx(row["modes"][mode]["cycles"], rel=WITHIN), mode


@pytest.mark.parametrize("row", WHOLE, ids=lambda row: row["name"])
def test_whole_models(row):
    """If the gates have changed: ``python -m bench.passes``."""
    target = Target.load(row["target"])
    work = Workload.of(SHAPES[row["shape"]], Formats(), target, "reordered")
    found = estimate_pass(work.of_mode(row["mode"]), area={}).cycles
    assert found == pytest.approx(row["cycles"], rel=WITHIN)
