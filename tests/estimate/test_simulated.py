"""Estimates against cycles of the RTL, simulated and stored by ``bench``: tokens and passes."""

from typing import Any

import pytest
from bench.estimates import cases
from bench.passes_estimates import machines
from bench.stored import rows

from lightmamba.arch.target import Target
from lightmamba.config import PUBLISHED
from lightmamba.estimate import estimate
from lightmamba.estimate.model import estimate_pass
from lightmamba.estimate.workload import Workload, modes
from lightmamba.formats import Formats

WITHIN = 0.01
ONE_TOKEN = 0.015  # of a hybrid's, which the host starts: the estimate is of tokens of a chain


def one_of_each(row: dict[str, Any]) -> Any:
    """A row of ``full``: of u280 the smallest and the largest model, the others in ``test-all``."""
    between = any(size in row["name"] for size in ("370m", "780m", "1.3b"))
    return pytest.param(row, id=row["name"], marks=[pytest.mark.slow] * between)


@pytest.mark.parametrize("row", [one_of_each(row) for row in rows("full")])
def test_whole_models(row):
    """If the RTL has changed: ``python -m bench.full``."""
    context = row.get("context") or None
    found = estimate(
        PUBLISHED[row["shape"]], Formats(), Target.load(row["target"]), context=context
    )
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


@pytest.mark.parametrize("row", rows("passes_estimates"), ids=lambda row: row["machine"])
def test_passes(row):
    """If the RTL has changed: ``python -m bench.passes_estimates``."""
    config, target = machines()[row["machine"]]
    work = Workload.of(config, Formats(), target, "reordered")
    for mode in modes(work.arch):
        found = estimate_pass(work.of_mode(mode), area={}).cycles
        assert found == pytest.approx(row["modes"][mode]["cycles"], rel=WITHIN), mode


@pytest.mark.parametrize(
    "row",
    [row for row in rows("passes") if row["mode"] in ("prefill", "batch", "verify")],
    ids=lambda row: row["name"],
)
def test_passes_of_whole_models(row):
    """If the RTL has changed: ``python -m bench.passes``."""
    target, context = Target.load(row["target"]), row.get("context") or None
    work = Workload.of(PUBLISHED[row["shape"]], Formats(), target, "reordered", context=context)
    found = estimate_pass(work.of_mode(row["mode"]), area={}).cycles
    assert found == pytest.approx(row["cycles"], rel=WITHIN)
