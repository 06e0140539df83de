"""Memory of a job: of a file that of the quantizer's plan, of an evaluation that of its models."""

from dataclasses import replace

import pytest

from lightmamba.model.config import SHAPES
from lightmamba.quantization import Recipe
from lightmamba.quantization.plan import Plan
from lightmamba.study.sweep.job import Job, Task, Text
from lightmamba.study.sweep.memory import memory_of
from tests.support.layers import resized
from tests.sweep.cases import LEARNING, MODEL, cell_of

LARGE = replace(
    MODEL, config=SHAPES["mamba2-2.7b"], hashes=(*MODEL.hashes, ("tokenizer.json", "t"))
)
TEXT, TASK = Text("a", "/a", "a"), Task("t", "/t", "t")


def job(measure, recipe="w4a4", model=LARGE):
    made = None if recipe is None else Recipe.load(recipe)
    return Job(model, made, None if made is None else LEARNING, measure)


@pytest.mark.parametrize("recipe", ["w4a4", "rtn-w8a8"])
@pytest.mark.parametrize("threads", [1, 8])
def test_a_file_takes_what_its_quantizer_plans(recipe, threads):
    shape = LEARNING.sequences, LEARNING.seqlen
    plan = Plan.of(LARGE.config, Recipe.load(recipe), shape, threads)
    assert memory_of(job(None, recipe), threads) == plan.memory


def test_calibration_without_a_tokenizer_takes_the_float_model():
    bare = replace(LARGE, hashes=MODEL.hashes)
    assert memory_of(job(None, model=bare), 1) > 10e9 > 2 * memory_of(job(None), 1)


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
