"""Saturation is counted by kind, bad input is refused, padding stays zero."""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from threadpoolctl import threadpool_info, threadpool_limits

from lightmamba.common.errors import InputError
from lightmamba.engine import Engine, one_blas_thread
from lightmamba.model.qmodel import QuantizedModel
from lightmamba.numerics.model_formats import Formats
from tests.engine.models import CASES, case, run
from tests.engine.phases import Phases
from tests.support.builders import random_model, sizes, token_ids
from tests.support.layers import mixer_of, with_mixer


def exponents(**less: int) -> Callable[[QuantizedModel], QuantizedModel]:
    """Lower exponents of every layer: the same integers mean less, so values saturate."""

    def change(model: QuantizedModel) -> QuantizedModel:
        layers = []
        for layer in model.layers:
            e = mixer_of(layer).exponents
            lower = {name: getattr(e, name) - by for name, by in less.items()}
            layers.append(with_mixer(layer, exponents=replace(e, **lower)))
        return replace(model, layers=tuple(layers))

    return change


def vectors(**values: int) -> Callable[[QuantizedModel], QuantizedModel]:
    """Set vectors of every layer to one value."""

    def change(model: QuantizedModel) -> QuantizedModel:
        layers = [
            with_mixer(
                layer, **{n: np.full_like(getattr(layer.mixer, n), v) for n, v in values.items()}
            )
            for layer in model.layers
        ]
        return replace(model, layers=tuple(layers))

    return change


def coarse_inputs(part: str, base: int) -> Callable[[QuantizedModel], QuantizedModel]:
    """Put the lowest activation scale where every block lies below it."""

    def change(model: QuantizedModel) -> QuantizedModel:
        layers = [
            layer.with_linears(**{part: replace(getattr(layer, part), act_base=base, base=-24)})
            for layer in model.layers
        ]
        return replace(model, layers=tuple(layers))

    return change


def finer(**less: int) -> Callable[[QuantizedModel], QuantizedModel]:
    """Lower exponents of the model itself."""
    return lambda m: replace(m, **{n: getattr(m, n) - by for n, by in less.items()})


SATURATE = {
    "embedding": finer(residual_exp=12),
    "in_proj": exponents(z=4),
    "in_proj.scale": coarse_inputs("in_proj", 22),
    "conv.input": vectors(conv_in_shift=2),
    "conv": vectors(conv_out_shift=-6),
    "dt": vectors(dt_bias=32767),
    "ssm.h": exponents(state=14),
    "ssm.y": exponents(y=12),
    "gate": exponents(gate=12),
    "out_proj.scale": coarse_inputs("out_proj", 22),
    "out_proj": finer(residual_exp=12),
    "residual": finer(residual_exp=10),
    "head": finer(logit_exp=16),
}


@pytest.mark.parametrize("kind", SATURATE)
def test_each_kind_is_counted_alike(kind):
    model = random_model(sizes(headdim=16))
    ids = token_ids(model.config, 2, 12)
    _, _, before = run(model, ids)
    changed = SATURATE[kind](model)
    _, _, fast = run(changed, ids)
    _, _, slow = run(changed, ids, compiled=False)
    assert fast[kind] > before[kind] + 5
    assert fast == slow


def test_a_whole_group_transform_saturates_alike():
    """512 values of one sign need 33 bits, more than random ones ever do."""
    model = exponents(hadamard_shift=1)(
        random_model(sizes(d_model=256, n_layer=1, headdim=64), Formats(hadamard=0))
    )
    assert mixer_of(model.layers[0]).exponents.hadamard_shift == 0
    x = np.full((3, 512), (1 << 23) - 1)
    x[1, 0] = 5
    x[2, ::2] *= -1
    results = []
    for compiled in (True, False):
        arithmetic: Any = Engine(model, compiled=compiled).arithmetic(0)
        single = Phases(arithmetic) if compiled else arithmetic
        results.append(single.hadamard(x))
    (fast, lost), (slow, also_lost) = results
    np.testing.assert_array_equal(fast, slow)
    assert lost == also_lost == 3
    assert fast[0, 0] == (1 << 31) - 1
    assert fast[2, 1] == -(1 << 31)


@pytest.mark.parametrize("name", CASES)
def test_random_models_are_healthy(name):
    """Little saturates, nothing dies out: what the other tests see is typical."""
    model = case(name)
    seen, _, lost = run(model, token_ids(model.config, 2, 12))
    count = sum(v.size for v in seen.values())
    assert sum(v for kind, v in lost.items() if kind != "clipped") < 0.01 * count
    assert lost["embedding"] == lost["residual"] == lost["head"] == 0
    for layer in range(model.config.n_layer):
        for value, least in (("in_proj.q", 5), ("out_proj.q", 5), ("ssm.x", 50), ("ssm.h", 50)):
            assert len(np.unique(seen[f"layer.{layer}.{value}"])) > least, (layer, value)
        spread = seen[f"layer.{layer}.residual"].std() * 2.0**model.residual_exp
        assert 0.5 < spread < 8


def test_clipping_is_not_an_overflow():
    model = case("w4a4")
    _, _, lost = run(model, token_ids(model.config, 2, 12))
    assert lost["clipped"] > 20
    assert lost["in_proj.scale"] == lost["out_proj.scale"] == lost["head.scale"] == 0
    coarse = SATURATE["in_proj.scale"](random_model(sizes(headdim=16)))
    seen, _, lost = run(coarse, token_ids(coarse.config, 2, 12))
    blocks = seen["layer.0.in_proj.code"].size + seen["layer.1.in_proj.code"].size
    assert lost["in_proj.scale"] == blocks // 4, "of four blocks of 32, three are padding"
    assert lost["clipped"] < blocks // 8, "tiny values clip nothing there"


@pytest.mark.parametrize(("hadamard", "most"), [(1, 72), (32, 96)])
@pytest.mark.parametrize("compiled", [True, False])
def test_padding_does_not_meet_another_group(compiled, hadamard, most):
    """Norm groups of 72 channels in 128; a transform mixes padding in, but within its block."""
    model = random_model(sizes(d_model=72, ngroups=2, headdim=36), Formats(hadamard=hadamard))
    seen, _, _ = run(model, token_ids(model.config, 2, 5), compiled=compiled)
    for layer in range(2):
        for name in ("hadamard.out", "out_proj.q"):
            groups = seen[f"layer.{layer}.{name}"].reshape(2, 5, 2, 128)
            assert groups[..., most - 32 : most].any()
            assert not groups[..., most:].any()
        assert not seen[f"layer.{layer}.in_proj.q"][..., 72:].any()


@pytest.mark.parametrize(
    ("ids", "sentence"),
    [
        (np.array([[0.5]]), "whole numbers, not float64"),
        (np.zeros(1, np.int64), r"ids must be \(batch, seqlen\), not \(1,\)"),
        (np.array(0), r"ids must be \(batch, seqlen\), not \(\)"),
        (np.zeros((3, 1), np.int64), "the state is of 1 sequences, but the ids of 3"),
    ],
)
def test_bad_ids(ids, sentence):
    engine = Engine(random_model(sizes(headdim=16)))
    with pytest.raises(InputError, match=sentence):
        engine.forward(ids, engine.empty_state(1))


def test_bad_threads():
    with pytest.raises(InputError, match="threads must be at least 1, not 0"):
        Engine(random_model(sizes(headdim=16)), threads=0)


def test_blas_threads_come_back():
    """Of numpy's own BLAS, which is the engine's; started from two, whatever the environment."""

    def count() -> list[int]:
        return [p["num_threads"] for p in threadpool_info() if "numpy" in p["filepath"]]

    with threadpool_limits(2, user_api="blas"):
        assert set(count()) == {2}
        with one_blas_thread():
            assert set(count()) == {1}
        assert set(count()) == {2}


def test_blas_threads_come_back_after_the_last_of_two_engines():
    """Whichever of two threads is done first; until then there is one for both."""

    def count() -> set[int]:
        return {p["num_threads"] for p in threadpool_info() if "numpy" in p["filepath"]}

    with threadpool_limits(2, user_api="blas"):
        first, second = one_blas_thread(), one_blas_thread()
        first.__enter__()
        second.__enter__()
        first.__exit__(None, None, None)
        assert count() == {1}
        second.__exit__(None, None, None)
        assert count() == {2}
