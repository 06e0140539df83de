"""The compiled operations give the integers of the reference, all of them."""

from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from lightmamba import native
from lightmamba.common.errors import InputError
from lightmamba.engine import Engine
from lightmamba.engine.native import Native, has_kernels
from lightmamba.engine.reference import Reference
from lightmamba.model.qmodel import QuantizedModel
from tests.engine.models import CASES, assert_same_state, case, run
from tests.support.builders import random_model, sizes, token_ids
from tests.support.layers import with_mixer

ISAS = native.usable_isas()


def assert_equal_paths(model: QuantizedModel, batch: int, seqlen: int, **options: Any) -> None:
    ids = token_ids(model.config, batch, seqlen)
    fast, fast_state, fast_lost = run(model, ids, **options)
    slow, slow_state, slow_lost = run(model, ids, compiled=False)
    assert list(fast) == list(slow)
    for name in slow:
        np.testing.assert_array_equal(fast[name], slow[name], err_msg=name)
    assert_same_state(fast_state, slow_state)
    assert fast_lost == slow_lost
    assert fast_lost["clipped"] > 0


def test_the_kernels_are_there():
    """Or all tests of this file would hold numpy to itself."""
    assert native.available()
    assert ISAS[0] == "portable"
    assert isinstance(Engine(case("w4a4")).ops, Native)


@pytest.mark.parametrize("isa", ISAS)
@pytest.mark.parametrize("name", CASES)
def test_equals_reference(name, isa):
    assert_equal_paths(case(name), batch=2, seqlen=12, isa=isa, threads=1 + len(name) % 2)


def test_an_unknown_instruction_set():
    with pytest.raises(InputError, match="no avx1024 kernels for this processor; there are: "):
        Engine(case("w4a4"), isa="avx1024")


def test_without_kernels_numpy_runs_and_says_so(monkeypatch):
    monkeypatch.setattr(native, "available", lambda: False)
    has_kernels.cache_clear()
    try:
        with pytest.warns(UserWarning, match="compiled kernels were not built"):
            assert isinstance(Engine(case("w4a4")).ops, Reference)
        Engine(case("w4a4"))  # a second warning would be an error here
    finally:
        has_kernels.cache_clear()


@pytest.mark.parametrize("name", ["w4a4", "w4a8-groups", "blocks-of-128"])
def test_equals_reference_with_comparison_inputs(name):
    model = case(name, comparison=True)
    assert not model.plain
    assert_equal_paths(model, batch=2, seqlen=12)


def test_equals_reference_over_thousands_of_tokens():
    model = random_model(sizes(headdim=32, d_state=32, n_layer=2))
    assert_equal_paths(model, batch=16, seqlen=260)


def test_dither_goes_on_past_many_tokens():
    """A sequence far along: the position is that of the state, and large."""
    model = random_model(sizes(headdim=32, d_state=64))
    ids = token_ids(model.config, 2, 6)
    results = []
    for compiled in (True, False):
        engine = Engine(model, compiled=compiled)
        _, state = engine.forward(ids, engine.empty_state(2))
        state.position[:] = (1 << 40) + 3, 77
        results.append(engine.forward(ids, state)[1])
    assert_same_state(*results)
    np.testing.assert_array_equal(results[0].position, [(1 << 40) + 9, 83])


def test_dither_reaches_the_state():
    """Equality above means nothing if both ignored the position."""
    model = random_model(sizes(headdim=32, d_state=32))
    ids = token_ids(model.config, 1, 8)
    engine = Engine(model)
    later = engine.empty_state(1)
    later.position[:] = 5
    first, second = (engine.forward(ids, s)[1] for s in (engine.empty_state(1), later))
    assert any((first.layer(i)["h"] != second.layer(i)["h"]).any() for i in range(2))


def test_one_layer_alone_leaves_whole_passes_as_they_are():
    """Both share what is described of a layer, but for its epsilon."""
    model = case("w4a4")
    layers = tuple(with_mixer(layer, eps_gate=1 << 50) for layer in model.layers)
    model = replace(model, layers=layers)
    ids, engine = token_ids(model.config, 1, 4), Engine(model)
    lost: Counter[str] = Counter()
    u = engine.embed(ids, lost)
    engine.layer(0, u, engine.empty_state(1), lost)
    ours, _ = engine.forward(ids, engine.empty_state(1))
    slow = Engine(model, compiled=False)
    theirs, _ = slow.forward(ids, slow.empty_state(1))
    np.testing.assert_array_equal(ours, theirs)


def test_python_threads_share_an_engine():
    model = case("w4a4")
    engine, ids = Engine(model, threads=2), token_ids(model.config, 4, 60)

    def read(row: int) -> NDArray[np.int32]:
        state = engine.empty_state(1)
        return np.stack([engine.forward(ids[row : row + 1, i : i + 1], state)[0][0, 0]
                         for i in range(60)])  # fmt: skip

    alone = [read(row) for row in range(4)]
    with ThreadPoolExecutor(4) as pool:
        for got, wanted in zip(pool.map(read, range(4)), alone, strict=True):
            np.testing.assert_array_equal(got, wanted)


def test_a_state_of_another_kind_is_refused():
    model = case("w4a4")
    engine, ids = Engine(model), token_ids(model.config, 2, 2)
    size = engine.empty_state(2).layout.size
    for change, what in (
        (lambda data: data.astype(np.int16), "int16"),
        (np.asfortranarray, "uint8"),
        (lambda data: data[:, :-64].copy(), f"uint8 \\(2, {size - 64}\\)"),
    ):
        state = engine.empty_state(2)
        state.data = change(state.data)
        with pytest.raises(InputError, match=f"the state is {what}"):
            engine.forward(ids, state)
