"""A pass over sequences of different lengths: each gets what it gets alone."""

import numpy as np
import pytest

from lightmamba.engine import Engine, Span, feed
from lightmamba.errors import InputError
from tests.support.builders import TINY, random_model


@pytest.fixture(scope="module", params=["kernels", "numpy", "comparison"])
def engine(request):
    """By whole passes, and by the two paths that run a sequence at a time."""
    model = random_model(TINY, comparison=request.param == "comparison")
    return Engine(model, compiled=request.param != "numpy")


def test_a_pass_gives_each_sequence_its_own(engine):
    rng = np.random.default_rng(5)
    state = engine.empty_state(6)
    alone = {row: engine.empty_state(1) for row in range(6)}
    for _ in range(6):
        rows = rng.permutation(6)[: rng.integers(1, 6)]
        spans = [
            Span(int(row), rng.integers(0, 61, rng.integers(1, 9)), logits=bool(rng.integers(2)))
            for row in rows
        ]
        before = state.fork()
        logits = iter(feed(engine, spans, state))
        for span in spans:
            wanted, alone[span.row] = engine.forward(span.ids[None], alone[span.row])
            if span.logits:
                np.testing.assert_array_equal(next(logits), wanted[0, -1])
        assert next(logits, None) is None
        for row in range(6):
            one = alone[row] if row in rows else before.take(slice(row, row + 1))
            for name, array in vars(state.take(slice(row, row + 1))).items():
                np.testing.assert_array_equal(array, getattr(one, name), err_msg=name)


def test_what_saturates_is_counted_as_alone(engine):
    before = engine.counters.copy()
    ids = np.arange(40) % 61
    feed(engine, [Span(0, ids[:7]), Span(1, ids)], engine.empty_state(2))
    together = engine.counters - before
    before = engine.counters.copy()
    for part in (ids[:7], ids):
        engine.forward(part[None], engine.empty_state(1))
    alone = engine.counters - before
    assert together["clipped"] > 0
    # Of the LM head, logits were wanted of other tokens.
    for found in (together, alone):
        for name in [name for name in found if name.startswith("head")]:
            del found[name]
    assert together == alone


@pytest.mark.parametrize(
    ("spans", "sentence"),
    [
        ([], "a pass needs at least one token"),
        ([(0, [])], "at least one"),
        ([(0, [[1]])], "must be \\(count,\\)"),
        ([(2, [1])], "row 2 is not of a state of 2 sequences"),
        ([(-1, [1])], "row -1 is not of a state"),
        ([(0, [1]), (1, [1]), (0, [2])], "row 0 is in a pass twice"),
        ([(0, [61])], "token ids go from 0 to 60"),
        ([(0, [-1])], "token ids go from 0 to 60"),
    ],
)
def test_what_is_refused(engine, spans, sentence):
    made = [Span(row, np.array(ids, dtype=np.int64)) for row, ids in spans]
    state = engine.empty_state(2)
    with pytest.raises(InputError, match=sentence):
        feed(engine, made, state)
    assert not state.position.any()
