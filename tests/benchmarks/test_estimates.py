"""Estimates against stored rows: cycles of the RTL, of tokens and passes, and cells by yosys."""

from typing import Any

import pytest
from bench import synth
from bench.estimates import cases, machines
from bench.full import ROWS
from bench.stored import rows

from lightmamba.arch.amount import Amount
from lightmamba.arch.target import Target
from lightmamba.hardware.estimate import estimate
from lightmamba.hardware.estimate.model import estimate_pass
from lightmamba.hardware.estimate.resources import CELLS, resources
from lightmamba.hardware.estimate.workload import Workload, modes
from lightmamba.model.config import PUBLISHED
from lightmamba.numerics.model_formats import Formats

WITHIN = 0.01
ONE_TOKEN = 0.015  # of a hybrid's, which the host starts: the estimate is of tokens of a chain

# Rows of whole models and of passes that are not left to ``make test-all``: each kind of target,
# of layers and of passes once, on the smallest model.
QUICK = {
    "mamba2-130m on u280", "mamba2-2.7b on vck190-paper",
    "granite-4.0-h-350m on u280, 1,024 positions",
    "tiny-t4", "heads of 16 words, two copies", "two ports of the state",
    "mamba2-130m on u280-t4, prefill", "mamba2-130m on u280-batch4, batch",
}  # fmt: skip


def cases_of(found: list[dict[str, Any]], name: str) -> Any:
    """Decorator: a case for each row, all but those of ``QUICK`` slow."""
    marks = [[pytest.mark.slow] * (row[name] not in QUICK) for row in found]
    cases = [pytest.param(r, id=r[name], marks=m) for r, m in zip(found, marks, strict=True)]
    return pytest.mark.parametrize("row", cases)


def test_each_quick_row_is_there():
    names = {row["name"] for row in [*rows("full"), *rows("passes")]}
    assert names | {row["machine"] for row in rows("passes_estimates")} >= QUICK


@cases_of(rows("full"), "name")
def test_whole_models(row):
    """If the RTL has changed: ``python -m bench.full``."""
    context = row.get("context") or None
    target = Target.load(row["target"])
    found = estimate(ROWS[row["name"]].config, Formats(), target, context=context)
    within = ONE_TOKEN if context else WITHIN
    assert found.cycles == pytest.approx(row["cycles_per_token"], rel=within)


@pytest.mark.parametrize(
    "row", [row for row in rows("estimates") if row["case"] in cases()], ids=lambda row: row["case"]
)
def test_small_machines(row):
    """If the RTL has changed: ``python -m bench.estimates``."""
    case = cases()[row["case"]]
    found = estimate(case.config, case.formats, case.target, case.order, stalls=case.stalls)
    assert found.cycles == pytest.approx(row["cycles"], rel=WITHIN)
    assert found.prompt_cycles == pytest.approx(row["prompt_cycles"], rel=WITHIN)


@cases_of(rows("passes_estimates"), "machine")
def test_passes(row):
    """If the RTL has changed: ``python -m bench.estimates``."""
    case = machines()[row["machine"]]
    work = Workload.of(case.config, Formats(), case.target, "reordered")
    for mode in modes(work.arch):
        found = estimate_pass(work.of_mode(mode), area={}).cycles
        assert found == pytest.approx(row["modes"][mode]["cycles"], rel=WITHIN), mode


@cases_of([row for row in rows("passes") if row["mode"] in ("prefill", "batch", "verify")], "name")
def test_passes_of_whole_models(row):
    """If the RTL has changed: ``python -m bench.full``."""
    target, context = Target.load(row["target"]), row.get("context") or None
    work = Workload.of(PUBLISHED[row["shape"]], Formats(), target, "reordered", context=context)
    found = estimate_pass(work.of_mode(row["mode"]), area={}).cycles
    assert found == pytest.approx(row["cycles"], rel=WITHIN)


@pytest.mark.parametrize("name", ["u280", "tiny", "vck190-paper", "ecp5"])
def test_machines_that_it_was_fitted_to(name):
    """A few sizes per group cannot bend to every machine; these four must come out near."""
    result = next(row for row in rows("synth") if row["machine"].startswith(f"{name},"))
    predicted = sum(resources(synth.machines()[result["machine"]]).values(), Amount())
    for cell, key in zip(CELLS, ("lut", "ff", "dsp", "bram", "uram"), strict=True):
        assert getattr(predicted, cell) == pytest.approx(result[key], rel=0.05, abs=0.5), cell
