"""Verdicts on single choices, and searches that cannot find anything."""

from dataclasses import replace

import pytest

from lightmamba.arch.target import Target
from lightmamba.common.errors import InputError
from lightmamba.hardware.estimate.workload import Workload
from lightmamba.study.explore.space import Space
from tests.explore.standin import ALL, RATIOS, SMALL, area, estimate, problem, target
from tests.support.layers import resized


def test_a_verdict_is_the_estimate():
    asked = problem()
    chosen = asked.space.of_base("w4a8")
    verdict = asked.judge(chosen)
    of_base = asked.space.target(asked.space.candidate(chosen))
    work = Workload.of(SMALL, asked.formats["w4a8"], of_base, "reordered")
    found = estimate(work, area(work.arch, of_base.resources))
    assert found.energy is not None
    assert verdict.values == {
        "tokens_per_second": found.tokens_per_second,
        "device_share": max(found.total.lut / 40_000, found.total.bram18 / 400),
        "tokens_per_joule": 1 / found.energy.joules[1],
        "perplexity_ratio": RATIOS["w4a8"],
    }
    assert (verdict.cycles, verdict.bound, verdict.fullest) == (found.cycles, found.bound, "lut")
    assert asked.feasible(verdict)
    assert not replace(asked, fill=verdict.share * 0.99).feasible(verdict)


def test_passes_are_estimated_for_objectives_only():
    """Prompt passes of hardware with several tokens are estimated only for an objective."""
    base = target()
    base = replace(base, machine=replace(base.machine, tokens=2))
    for objectives, passes in ((ALL, [(1, True)]), (("speed", "prefill"), [(1, True), (2, False)])):
        asked, seen = problem(base, objectives), list[tuple[int, bool]]()

        def counted(work, area, seen=seen):
            seen.append((work.tokens, work.head))
            return estimate(work, area)

        verdict = replace(asked, estimate=counted).judge(asked.space.of_base("w4a4"))
        assert seen == passes
        assert {o.key for o in asked.objectives} <= set(verdict.known)


def test_what_is_too_large_is_not_estimated():
    def never(*_):
        raise AssertionError("it was estimated")

    asked = replace(problem(target(lut=100)), estimate=never)
    verdict = asked.judge(asked.space.of_base("w4a4"))
    assert set(verdict.known) == {"device_share"}
    assert not asked.feasible(verdict)


def test_what_is_refused_is_a_verdict(monkeypatch):
    asked = problem()
    deep = replace(asked, config=resized(SMALL, n_layer=600))
    verdict = deep.judge(deep.space.of_base("w4a4"))
    assert verdict.refused == "the model has n_layer 600, but the hardware takes at most 510"
    assert not deep.feasible(verdict)
    with pytest.raises(ValueError, match="this machine was refused: the model has n_layer"):
        _ = verdict.share

    def hangs(*_):
        raise InputError("this machine would hang")

    assert replace(asked, estimate=hangs).judge(asked.space.of_base("w4a4")).refused is not None

    monkeypatch.setattr(
        "lightmamba.study.explore.problem.unmeasured", lambda arch: "not synthesized"
    )
    unknown = replace(asked, area=lambda *_: {})
    assert unknown.judge(asked.space.of_base("w4a4")).refused == "not synthesized"
    wide = asked.judge(asked.space.of_base("w4a4") | {"lanes": 100})
    assert wide.refused == "lanes must be in 1..64, not 100"


def test_schemes_that_do_not_fit_are_left_out():
    """32 multipliers of 8 bits are the largest of the smallest machines here."""
    asked, reasons, of_base = problem(target(lut=4100)).possible()
    assert [*of_base] == ["w4a4", "w8a8"]
    assert asked.space.options["scheme"] == ("w4a4", "w8a8")
    assert reasons == {
        "w4a8": "even the smallest w4a8 machine (1 lane of 128 bits) takes 1.09 times the lut of "
        "target tiny"
    }
    same, none, of_base = problem().possible()
    assert (same, none) == (problem(), {})
    assert of_base == {scheme: same.judge(same.space.of_base(scheme)) for scheme in RATIOS}


@pytest.mark.parametrize(
    ("asked", "sentence"),
    [
        (problem(target(lut=100)), ("even the smallest w4a4 machine (1 lane of 128 bits) takes "
         "38.4 times the lut of target tiny; so there is nothing to search")),
        (problem(target(), fill=0.01), ("takes 0.096 times the lut of target tiny, of which --fill "
         "allows 0.01; so there is nothing to search")),
        (replace(problem(), config=resized(SMALL, n_layer=600)), "hardware takes at most 510; so"),
        (replace(problem(), space=Space.around(target(), SMALL, tuple(RATIOS), {"lanes": (100,)})),
         "lanes must be in 1..64, not 100; so there is nothing to search"),
    ],
)  # fmt: skip
def test_an_impossible_search_is_one_sentence(asked, sentence):
    with pytest.raises(InputError) as caught:
        asked.possible()
    assert sentence in str(caught.value)


def test_refusals():
    with pytest.raises(InputError, match=r"target tiny names no device, .* take u280, or add a"):
        problem(Target.load("tiny"))
    for fill in (0, 1.5, float("nan")):
        with pytest.raises(InputError, match=r"--fill must be above 0 and at most 1, .*; try 0.8"):
            problem(fill=fill)
    blind = replace(problem(), estimate=lambda *of: replace(estimate(*of), energy=None))
    with pytest.raises(InputError, match=r"no energy is known .* --objectives speed,size,acc"):
        blind.judge(blind.space.of_base("w4a4"))
    seeing = replace(blind, objectives=problem(objectives=("speed", "size")).objectives)
    assert "tokens_per_joule" not in seeing.judge(seeing.space.of_base("w4a4")).known
