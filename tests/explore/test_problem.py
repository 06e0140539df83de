"""Verdicts on single choices, and searches that cannot find anything."""

from dataclasses import replace

import pytest

from lightmamba.arch.target import Target
from lightmamba.errors import InputError
from lightmamba.explore.space import Space
from tests.explore.standin import RATIOS, SMALL, estimate, problem, target
from tests.support.layers import resized


def test_a_verdict_is_the_estimate():
    asked = problem()
    chosen = asked.space.of_base("w4a8")
    verdict = asked.judge(chosen)
    of_base = asked.space.target(asked.space.candidate(chosen))
    found = estimate(SMALL, asked.formats["w4a8"], of_base, "reordered")
    assert found.energy is not None
    assert verdict.values == {
        "tokens_per_second": found.tokens_per_second,
        "prefill_tokens_per_second": found.mode("prefill").tokens_per_second,
        "batch_tokens_per_second": found.mode("batch").tokens_per_second,
        "device_share": max(found.total.lut / 40_000, found.total.bram18 / 400),
        "tokens_per_joule": 1 / found.energy.joules[1],
        "perplexity_ratio": RATIOS["w4a8"],
    }
    assert (verdict.cycles, verdict.bound, verdict.fullest) == (found.cycles, found.bound, "lut")
    assert asked.feasible(verdict)
    assert not replace(asked, fill=verdict.share * 0.99).feasible(verdict)


def test_what_is_refused_is_a_verdict():
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

    def of_unknown_area(*given):
        return replace(estimate(*given), resources={}, energy=None, area_unknown="not synthesized")

    found = replace(asked, estimate=of_unknown_area).judge(asked.space.of_base("w4a4"))
    assert found.refused == "not synthesized"
    wide = asked.judge(asked.space.of_base("w4a4") | {"lanes": 100})
    assert wide.refused == "lanes must be in 1..64, not 100"


def test_schemes_that_do_not_fit_are_left_out():
    """32 multipliers of 8 bits are the largest of the smallest machines here."""
    asked, reasons = problem(target(lut=4100)).possible()
    assert asked.space.options["scheme"] == ("w4a4", "w8a8")
    assert reasons == {
        "w4a8": "even the smallest w4a8 machine (1 lane of 128 bits) takes 1.09 times the lut of "
        "target tiny"
    }
    same, none = problem().possible()
    assert (same, none) == (problem(), {})


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
    assert "\n" not in str(caught.value)


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
