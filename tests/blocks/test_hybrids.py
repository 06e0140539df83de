"""Hybrids in exact integers: kernels equal numpy, pieces equal tokens, states go anywhere."""

from collections import Counter
from dataclasses import replace
from functools import cache

import numpy as np
import pytest

from lightmamba.blocks import kind
from lightmamba.common.errors import InputError
from lightmamba.common.passes import Pass, Slot
from lightmamba.engine import Digests, Engine, first_difference
from lightmamba.model.config import HYBRIDS, ModelConfig
from lightmamba.model.qmodel import load, save, to_bytes
from lightmamba.model.qmodel.synthetic import random_model
from lightmamba.native import usable_isas
from lightmamba.numerics.model_formats import Formats

MAMBA, MLP, ATTENTION = (kind(name).Sizes for name in ("mamba2", "mlp", "attention"))
LAYERS = (
    MAMBA(nheads=6, headdim=32, d_state=48, ngroups=2), MLP(200), ATTENTION(6, 2, 24),
    MLP(256, "relu2"), ATTENTION(4, 4, 64), MLP(130), MAMBA(nheads=2, headdim=80, d_state=32),
)  # fmt: skip
FORMATS = {
    "W4A4": Formats(),
    "W8A8, no transform": Formats(act_bits=8, weight_bits=8, hadamard=1),
    "whole transform, 12-bit state": Formats(hadamard=0, state_bits=12),
}
PIECE = np.arange(54)[None]


@cache
def model(name="W4A4", layers=LAYERS):
    return random_model(ModelConfig(96, 300, layers), FORMATS[name])


def text(engine, tokens, digests=None):
    """Greedy ids, fed one by one; a piece after the fourth brings them close to the third page."""
    state, ids, token = engine.empty_state(1), [], 5
    for i in range(tokens):
        if i == 4:
            state = engine.forward(PIECE, state)[1]
        ids.append(token)
        logits, state = engine.forward(np.array([[token]]), state, observe=digests)
        token = int(logits[0, -1].argmax())
    return ids, state


@cache
def by_numpy(name):
    """Greedy ids of the numpy engine, with all that it computed and what saturated."""
    digests, engine = Digests(keep=True), Engine(model(name), compiled=False)
    return text(engine, 16, digests)[0], digests, engine.counters


@pytest.mark.parametrize("isa", usable_isas())
@pytest.mark.parametrize("name", FORMATS)
def test_kernels_are_the_numpy_reference(name, isa):
    ours, kernels = Digests(keep=True), Engine(model(name), isa=isa, threads=2)
    assert kernels.kernels is not None
    ids, theirs, counters = by_numpy(name)
    assert text(kernels, 16, ours)[0] == ids
    assert first_difference(ours, theirs) is None
    assert kernels.counters == counters


def test_step_by_step_operations_are_the_same_too():
    """The quantizer's view: one layer at a time, on arrays."""
    m = model()
    ids = np.arange(3 * 50).reshape(3, 50)
    for compiled in (True, False):
        engine = Engine(m, compiled=compiled)
        u, state, lost = engine.embed(ids, engine.counters), engine.empty_state(3), engine.counters
        for i in range(len(LAYERS)):
            u = engine.layer(i, u, state, lost)
        if compiled:
            wanted = u
    assert (u == wanted).all()


@pytest.mark.parametrize("compiled", [True, False])
def test_pieces_equal_single_tokens(compiled):
    engine = Engine(model(), compiled=compiled)
    ids = np.arange(2 * 70).reshape(2, 70)
    whole, _ = engine.forward(ids, engine.empty_state(2), last_only=False)
    state, parts = engine.empty_state(2), []
    for start, stop in ((0, 1), (1, 33), (33, 34), (34, 70)):
        logits, state = engine.forward(ids[:, start:stop], state, last_only=False)
        parts.append(logits)
    assert (np.concatenate(parts, 1) == whole).all()


def test_states_are_forked_taken_and_put():
    engine = Engine(model())
    ids = np.random.default_rng(1).integers(0, 300, (3, 90))
    _, state = engine.forward(ids[:, :50], engine.empty_state(3))
    forked = state.fork()
    wanted, _ = engine.forward(ids[:, 50:], state)
    taken = forked.take(np.array([2, 0, 1]))
    found, _ = engine.forward(ids[[2, 0, 1], 50:], taken)
    assert (found == wanted[[2, 0, 1]]).all()
    slots = engine.empty_state(4)
    slots.put(3, forked.take(np.array([1])))
    logits = engine.run(Pass((Slot(3, ids[1, 50:]),)), slots)
    assert (logits[0] == wanted[1, 0]).all()
    slots.clear(3)
    assert (slots.position[3], slots.pages[3].data.nbytes) == (0, 0)
    fresh = engine.run(Pass((Slot(3, ids[1]),)), slots)
    assert (fresh[0] == wanted[1, 0]).all()


def test_a_state_of_another_layout_is_refused():
    """Keys and values of 64 channels, of one head or of two: as many bytes, in other places."""
    one, two = (
        Engine(model(layers=(ATTENTION(4, heads, dim),))) for heads, dim in ((1, 64), (2, 32))
    )
    _, state = one.forward(np.array([[1, 2, 3]]), one.empty_state(1))
    assert state.layout.page == two.layout.page
    with pytest.raises(InputError, match="the state is of a model with other layers"):
        two.forward(np.array([[4]]), state)


def test_files_keep_them(tmp_path):
    m = model()
    save(m, tmp_path / "m.safetensors")
    again = load(tmp_path / "m.safetensors")
    assert again.config == m.config
    assert to_bytes(again) == to_bytes(m)
    assert text(Engine(again), 10)[0] == text(Engine(m), 10)[0]


def test_attention_alone_and_the_longest_heads():
    m = model(layers=(ATTENTION(2, 1, 256), ATTENTION(3, 3, 8)))
    ours, theirs = Digests(keep=True), Digests(keep=True)
    assert text(Engine(m), 16, ours)[0] == text(Engine(m, compiled=False), 16, theirs)[0]
    assert first_difference(ours, theirs) is None


@pytest.mark.parametrize("isa", usable_isas())
@pytest.mark.parametrize(("exponent", "saturates"), [(-12, False), (-4, True)])
def test_scores_far_apart_and_beyond_their_format(exponent, saturates, isa):
    """Maxima that rise by many octaves from page to page, so that all before is rounded away."""
    m, rng = model(layers=(ATTENTION(6, 2, 40),)), np.random.default_rng(3)
    rows = rng.integers(-(1 << 15), 1 << 15, size=(2, 100, m.config.layers[0].in_rows))
    rows >>= rng.integers(0, 16, size=(2, 100, 1))
    scales = replace(m.layers[0].mixer.exponents, q=exponent, k=exponent)
    layer = replace(m.layers[0], mixer=replace(m.layers[0].mixer, exponents=scales))
    m, found = replace(m, layers=(layer,)), []
    for engine in (Engine(m, isa=isa, threads=2), Engine(m, compiled=False)):
        state, lost = engine.empty_state(2), Counter[str]()
        for row in range(2):
            state.reserve(row, 100)
        values, _ = engine.arithmetic(0).run(rows, state.layer(0), state.position, lost)
        found.append((values.reshape(200, -1), lost))
    assert (found[0][0] == found[1][0]).all()
    assert found[0][1] == found[1][1]
    assert (found[0][1]["attention.score"] > 0) == saturates


@pytest.mark.parametrize("shape", HYBRIDS)
def test_published_shapes_are_those_of_their_configs(shape):
    published = {"granite-4.0-h-350m": 340.3, "granite-4.0-h-1b": 1461.5,
                 "granite-4.0-h-micro": 3191.4, "nemotron-3-nano-4b": 3972.5}  # fmt: skip
    c = HYBRIDS[shape]
    matrices = sum(s.in_rows * c.d_model + s.out_dim * c.d_model for s in c.layers)
    tables = c.vocab_size * c.d_model * (1 if "granite" in shape else 2)  # granite's head is tied
    assert (matrices + tables) / 1e6 == pytest.approx(published[shape], rel=2e-3)


@pytest.mark.parametrize(
    ("name", "sizes", "sentence"),
    [
        ("attention", (6, 4, 32), "n_kv_heads 4 does not divide n_heads 6"),
        ("attention", (6, 2, 0), "head_dim must be a positive whole number"),
        ("mlp", (0,), "d_hidden must be a positive whole number"),
        ("mlp", (64, "gelu"), "activation must be silu or relu2, not 'gelu'"),
    ],
)
def test_sizes_that_cannot_be_are_refused(name, sizes, sentence):
    with pytest.raises(ValueError, match=sentence):
        kind(name).Sizes(*sizes)


def test_a_state_of_another_model_is_refused():
    engine, other = Engine(model()), Engine(model(layers=LAYERS[:3]))
    with pytest.raises(InputError, match=r"of a model with other layers or formats; begin with"):
        engine.forward(np.array([[1]]), other.empty_state(1))
