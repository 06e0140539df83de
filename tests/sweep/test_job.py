"""Keys of jobs cover what a result depends on, and nothing else; memory that they take."""

import json
from dataclasses import replace

import pytest

from lightmamba.arch.target import Target
from lightmamba.model.config import SHAPES
from lightmamba.quantization import Recipe
from lightmamba.quantization.plan import Plan
from lightmamba.study.sweep.job import Job, Machine, Task, Text
from lightmamba.study.sweep.memory import memory_of
from tests.support.layers import resized
from tests.sweep.cases import LEARNING, MODEL, cell_of

TEXT = Text("a", "/a", "hash")
JOB = Job(MODEL, Recipe.load("w4a4"), LEARNING, TEXT)
SMALLER = replace(Target.load("u280"), clock_mhz=100.0)


@pytest.mark.parametrize(
    "other",
    [
        replace(JOB, model=replace(MODEL, hashes=(("config.json", "00"), ("w", "12")))),
        replace(JOB, recipe=Recipe.load("w4a8")),
        replace(JOB, learning=replace(LEARNING, sequences=5)),
        replace(JOB, learning=replace(LEARNING, seqlen=65)),
        replace(JOB, learning=replace(LEARNING, seed=1)),
        replace(JOB, learning=replace(LEARNING, text="/t", sha256="t")),
        replace(JOB, measure=replace(TEXT, sha256="other")),
        replace(JOB, measure=replace(TEXT, tokens=100)),
        replace(JOB, measure=replace(TEXT, window=512)),
        replace(JOB, measure=replace(TEXT, against=True)),
        replace(JOB, measure=Task("a", "/a", "hash")),
        replace(JOB, measure=None),
        Job(MODEL, None, None, TEXT),
    ],
)
def test_another_input_is_another_key(other):
    assert other.key != JOB.key
    assert len(other.key) == 32


@pytest.mark.parametrize(
    "same",
    [
        replace(JOB, model=replace(MODEL, name="n", place="/elsewhere")),
        replace(JOB, measure=replace(TEXT, name="b", place="/b")),
        replace(JOB, learning=replace(LEARNING, text="/elsewhere")),
    ],
)
def test_names_and_places_are_no_inputs(same):
    assert same.key == JOB.key


def test_the_inputs_are_plain_and_said():
    """One more of them makes every sweep of before start anew."""
    assert cell_of(None).key == Job(MODEL, None, None, Text("b", "/b", "a")).key
    inputs = cell_of(None).inputs
    assert json.loads(json.dumps(inputs)) == inputs == {
        "kind": "text", "model": {"config.json": "00", "w": "11"},
        "measure": {"sha256": "a", "tokens": None, "window": 1024, "against": False,
                    "allow_overlap": False},
    }  # fmt: skip


def test_an_estimate_depends_on_sizes_and_formats_only():
    one = replace(JOB, measure=Machine("u280", Target.load("u280")))
    weights = replace(one, model=replace(MODEL, hashes=()), learning=replace(LEARNING, seed=3))
    assert weights.key == one.key
    assert one.file is None
    for other in (
        replace(one, model=replace(MODEL, config=SHAPES["mamba2-130m"])),
        replace(one, recipe=Recipe.load("w8a8")),
        replace(one, measure=Machine("u280", SMALLER)),
    ):
        assert other.key != one.key
    json.loads(json.dumps(one.inputs, allow_nan=False))


def test_cells_of_a_recipe_share_a_file():
    other = replace(JOB, measure=replace(TEXT, sha256="other"))
    assert JOB.file == other.file == replace(JOB, measure=None)
    assert Job(MODEL, None, None, TEXT).file is None
    named = Task("arc_easy", None, "0.4.13")
    assert replace(JOB, measure=named).key != replace(JOB, measure=replace(named, name="x")).key


LARGE = replace(
    MODEL, config=SHAPES["mamba2-2.7b"], hashes=(*MODEL.hashes, ("tokenizer.json", "t"))
)
TASK = Task("t", "/t", "t")


def job(measure, recipe="w4a4", model=LARGE):
    made = None if recipe is None else Recipe.load(recipe)
    return Job(model, made, None if made is None else LEARNING, measure)


@pytest.mark.parametrize("recipe", ["w4a4", "rtn-w8a8"])
@pytest.mark.parametrize("threads", [1, 8])
def test_a_file_takes_what_its_quantizer_plans(recipe, threads):
    shape = LEARNING.sequences, LEARNING.seqlen
    plan = Plan.of(LARGE.config, Recipe.load(recipe), shape)
    assert memory_of(job(None, recipe), threads) == plan.memory


def test_calibration_without_a_tokenizer_takes_the_float_model():
    bare = replace(LARGE, hashes=MODEL.hashes)
    assert memory_of(job(None, model=bare), 1) > 10e9 > 2 * memory_of(job(None), 1)
    many = job(None, model=bare)
    many = replace(many, learning=replace(LEARNING, sequences=160))
    assert memory_of(many, 1) > 10e9 + 2 * 160 * 4 * 64 * 80 * 64 * 128  # states of all sequences


def test_an_evaluation_takes_the_models_that_it_reads_with():
    weights = 4 * 2.7e9
    alone, floats = memory_of(job(TEXT), 1), memory_of(job(TEXT, None), 1)
    both = memory_of(job(replace(TEXT, against=True)), 1)
    assert weights < floats < weights + 3e9
    assert 1.4e9 + 0.5e9 < alone < 3e9
    assert max(alone, floats) < both < alone + floats
    deep = replace(LARGE, config=resized(LARGE.config, n_layer=128))
    assert memory_of(job(TEXT, model=deep), 1) > 1.5 * alone
    assert memory_of(job(None, model=deep), 1) == memory_of(job(None), 1)


def test_short_contexts_are_read_many_together():
    assert memory_of(job(TASK), 1) > memory_of(job(TEXT), 1)
    assert memory_of(job(TASK, None), 1) > memory_of(job(TEXT, None), 1) + 4e9


def test_an_estimate_takes_next_to_nothing():
    assert memory_of(cell_of("w4a4", target="u280"), 8) < 1e9
