"""Exceptions within a budget: what each projection costs, which get 8 bits, and going on."""

from dataclasses import replace

import numpy as np
import pytest

from lightmamba.common.errors import InputError
from lightmamba.engine import Engine
from lightmamba.model.checkpoint import open_checkpoint
from lightmamba.model.qmodel import load
from lightmamba.numerics.model_formats import FormatException, Widths
from lightmamba.quantization import Calibration, FileRun, Recipe, sensitivity
from lightmamba.quantization.budget import Budget, Ranking, choose
from lightmamba.quantization.sensitivity import Cost, costs, narrow, widened
from tests.support.builders import sizes
from tests.support.hybrids import granite, saved

W4A4 = Recipe.load("w4a4")
CONFIG = sizes(d_model=64, n_layer=3)


def cost(layer, projection, weights, of_weights, of_activations=None):
    kl = {"weights": of_weights, "activations": of_activations}
    return Cost(layer, projection, weights, {k: v for k, v in kl.items() if v is not None})


FOUND = [
    cost(0, "in_proj", 600, 0.006, 0.001), cost(0, "out_proj", 200, 0.004, 0.003),
    cost(1, "in_proj", 600, 0.030, 0.009), cost(1, "out_proj", 200, 0.001, 0.020),
]  # fmt: skip


@pytest.mark.parametrize(("budget", "exceptions", "bits", "cycles"), [
    (Budget(4.5), (Widths((0,), "out_proj", 8),), (4.5, 4), 1.125),
    (Budget(6), (Widths((0,), "out_proj", 8), Widths((1,), "in_proj", 8)), (6, 4), 1.5),
    (Budget(None, 5), (Widths((0, 1), "out_proj", None, 8),), (4, 5), 1.25),
    (Budget(4.5, 5), (Widths((0,), "out_proj", 8, 8), Widths((1,), "out_proj", None, 8)), (4.5, 5),
     1.5),
    (Budget(8), (Widths((0, 1), "in_proj", 8), Widths((0, 1), "out_proj", 8)), (8, 4), 2),
    (Budget(4), (), (4, 4), 1),
])  # fmt: skip
def test_what_costs_most_for_each_bit_gets_8(budget, exceptions, bits, cycles):
    """Layer 1's in_proj costs 0.03 / 600, more than any; with too few bits for it, the next."""
    found = choose(W4A4, FOUND, budget)
    assert found.recipe == replace(W4A4, exceptions=exceptions)
    assert tuple(found.bits.values()) == bits
    assert found.cycles == cycles
    first = found.costs[0]
    assert (first.layer, first.projection) == (1, "in_proj")


def test_exceptions_of_the_recipe_stay():
    recipe = replace(W4A4, exceptions=(Widths((1,), "in_proj", 8, 8),))
    wide = widened(recipe, 2)
    assert wide.formats.of(0, "in_proj").bits == wide.formats.of(1, "out_proj").act.bits == 8
    wanted = narrow(recipe, wide, ("weights", "activations"))
    assert set(wanted) == {"layers.0.in_proj", "layers.0.out_proj", "layers.1.out_proj"}
    widths = {name: (op.bits, op.act.bits) for name, op in wanted["layers.0.in_proj"].items()}
    assert widths == {"weights": (4, 8), "activations": (8, 4)}
    found = choose(recipe, [replace(FOUND[2], kl={}), FOUND[0], FOUND[1]], Budget(6.5))
    assert found.recipe.exceptions == (*recipe.exceptions, Widths((0,), "out_proj", 8))


@pytest.mark.parametrize(("budget", "recipe", "sentence"), [
    (Budget(3.9), "w4a4", "--budget must be from 4 to 8, the bits of weights by the recipe w4a4 "),
    (Budget(9), "w4a4", "not 9; try 4.3"),
    (Budget(None, 3), "rtn-w4a4", "--act-budget must be from 4 to 8"),
    (Budget(4.01), "w4a4", r"--budget 4.01: no projection fits; .* smallest, the mean is 4.237"),
    (Budget(None, 8), "w4a8", "--act-budget: all activations of the recipe w4a8 have 8 bits; take"),
])  # fmt: skip
def test_a_budget_that_no_choice_meets(budget, recipe, sentence):
    with pytest.raises(InputError, match=sentence):
        budget.check(Recipe.load(recipe), CONFIG)


def test_exceptions_of_the_recipe_are_part_of_the_mean():
    every = tuple(range(CONFIG.n_layer))
    recipe = replace(W4A4, exceptions=(Widths(every, "in_proj", 8),))
    with pytest.raises(InputError, match=r"--budget must be from 7.289 to 8, .* not 5; try 7.59"):
        Budget(5).check(recipe, CONFIG)
    Budget(8, 4.5).check(recipe, CONFIG)


@pytest.fixture(scope="module")
def world(tmp_path_factory):
    """A hybrid's checkpoint, and ids."""
    root = tmp_path_factory.mktemp("budget")
    saved(granite(), root / "ck")
    ids = np.random.default_rng(0).integers(0, 100, 1200)
    (root / "ids.txt").write_text(" ".join(map(str, ids)))
    return root


def job(root, output):
    opened = open_checkpoint(root / "ck")
    given = Calibration(ids=root / "ids.txt", sequences=16, seqlen=48)
    ids, kind = given.tokens(opened, 0)
    return FileRun(opened, W4A4, ids, kind, output, least=0.0)


def quiet(done, total):
    pass


def test_costs_are_the_divergence_of_whole_models(world, tmp_path):
    """With one projection exchanged, by the engine, whole model by whole model."""
    with Ranking(job(world, tmp_path / "m.safetensors"), Budget(5, 5)) as ranking:
        ranking.quantize(quiet)
        model, other = ranking.model, ranking.journal.get
        ids, layers = ranking.run.ids[::5], tuple(model.layers)
        model = replace(model, layers=layers)

        def log_probabilities(changed):
            engine = Engine(changed)
            logits, _ = engine.logits(ids, engine.empty_state(len(ids)))
            logits = logits[..., : changed.valid_vocab]
            logits -= logits.max(-1, keepdims=True)
            return logits - np.log(np.exp(logits).sum(-1, keepdims=True))

        p, seen = log_probabilities(model), 0
        for name, found in costs(model, other, ranking.wanted, ids):
            at, projection = found.layer, found.projection
            assert name == f"layers.{at}.{projection}"
            for what, (bits, act) in {"weights": (4, 8), "activations": (8, 4)}.items():
                layer = layers[at].with_linears(**{projection: other(f"{name}.{what}")})
                rest = [e for e in model.formats.exceptions
                        if (e.layer, e.projection) != (at, projection)]  # fmt: skip
                exceptions = (*rest, FormatException(at, projection, bits, act))
                q = log_probabilities(replace(
                    model, layers=(*layers[:at], layer, *layers[at + 1 :]),
                    formats=replace(model.formats, exceptions=exceptions),
                ))  # fmt: skip
                wanted = float((np.exp(p) * (p - q)).sum(-1).mean())
                assert found.kl[what] == pytest.approx(wanted, rel=1e-9)
                assert wanted > 0
                seen += 1
        assert seen == 4 * len(layers)
        bare = [found for _, found in costs(model, other, {}, ids)]  # all have exceptions
        assert [found.kl for found in bare] == [{}] * 2 * len(layers)
        assert all(found.weights for found in bare)


def ranked(root, output):
    with Ranking(job(root, output), Budget(5)) as ranking:
        ranking.quantize(quiet)
        ranking.measure(quiet)


def test_a_ranking_that_was_stopped_goes_on(world, tmp_path, monkeypatch):
    """Costs that were measured are kept, and the file is that of the chosen recipe."""
    output, measured = tmp_path / "m.safetensors", []
    real = sensitivity._Measure.exchanged

    def stopping(self, *args):
        measured.append(args[0])
        if len(measured) == 4:
            raise KeyboardInterrupt
        return real(self, *args)

    monkeypatch.setattr(sensitivity._Measure, "exchanged", stopping)
    with pytest.raises(KeyboardInterrupt):
        ranked(world, output)
    with Ranking(job(world, output), Budget(5)) as ranking:
        monkeypatch.setattr("lightmamba.quantization.driver.quantize_projection", lambda: 1 / 0)
        ranking.quantize(quiet)
        choice = choose(W4A4, ranking.measure(quiet), Budget(5))
        monkeypatch.undo()
        replace(ranking.run, recipe=choice.recipe).run()
    assert len(measured) == 1 + 2 * ranking.run.checkpoint.config.n_layer
    assert load(output).formats == choice.recipe.formats
    assert 4 < choice.bits["weights"] <= 5
    assert list(tmp_path.iterdir()) == [output]
