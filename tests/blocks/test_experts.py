"""A mixture of experts in exact integers: an MLP of the chosen blocks, whatever their order."""

from dataclasses import replace

import numpy as np
import pytest
from numpy.testing import assert_array_equal

from lightmamba import native
from lightmamba.blocks import kind
from lightmamba.common.errors import InputError
from lightmamba.common.passes import Pass, Slot
from lightmamba.engine import Engine
from lightmamba.engine.native import Native
from lightmamba.model.config import ModelConfig
from lightmamba.model.qmodel import load, to_bytes
from lightmamba.model.qmodel.synthetic import random_model
from lightmamba.numerics.blocks import BlockQuant
from lightmamba.numerics.formats import INT16, INT32, NIBBLES
from lightmamba.numerics.model_formats import FormatException, Formats
from lightmamba.numerics.primitives import round_shift
from lightmamba.numerics.routing import ONE
from tests.engine.models import assert_same_state, run
from tests.support.builders import sizes, token_ids

SIZES, MLP = kind("experts").Sizes, kind("mlp")
SHAPES = {
    "granite": SIZES(6, 2, 40, 2),
    "every expert": SIZES(4, 4, 24, 1),
    "nemotron": SIZES(5, 3, 40, 1, "relu2", "sigmoid"),
    "one expert, sigmoids as they are": SIZES(5, 1, 40, 1, "relu2", "sigmoid", False),
}
FORMATS = {"w4a4": Formats(), "w4a8": Formats(act_bits=8), "w8a8": Formats(8, 8)}


def model_of(sizes, formats=FORMATS["w4a4"], seed=0):
    return random_model(ModelConfig(64, 100, (sizes,), False, 1e-5), formats, seed)


def seen(model, count=7):
    engine, found = Engine(model, compiled=False), {}
    ids = np.random.default_rng(3).integers(0, 100, (1, count))
    engine.forward(ids, engine.empty_state(1), observe=lambda n, v: found.update({n: v[0]}))
    taken = model.config.layers[0].taken
    found = {name.removeprefix("layer.0."): value for name, value in found.items()}
    for name in ("in_proj.rows", "experts.hidden", "hadamard.out"):
        found[name] = found[name].reshape(count, taken, -1)
    return found, engine.counters


@pytest.mark.parametrize("formats", FORMATS)
@pytest.mark.parametrize("name", SHAPES)
def test_a_layer_is_an_mlp_of_the_chosen_blocks(name, formats):
    """Rows and columns are gathered, in another order than the engine's."""
    sizes, model = SHAPES[name], model_of(SHAPES[name], FORMATS[formats])
    layer, (found, _) = model.layers[0], seen(model)
    own = MLP.Sizes(sizes.d_hidden, sizes.activation)
    exponents = {k: getattr(layer.mixer.exponents, k) for k in ("a", "b", "hidden")}
    exponents = type(
        MLP.integers.random_mixer(np.random.default_rng(0), own, model.formats).exponents
    )(**exponents, hadamard_shift=layer.mixer.exponents.hadamard_shift)
    mlp = MLP.Arithmetic(MLP.Mixer(own, exponents), model.formats)
    op, d, width = model.formats.of(0, "out_proj"), 64, layer.out_proj.shape[1]
    q = layer.out_proj.q.reshape(sizes.blocks, d, width)
    code = layer.out_proj.code.reshape(sizes.blocks, d, -1)
    for rows, blocks, weights, want in zip(
        found["in_proj.rows"].astype(np.int64), found["router.blocks"], found["router.weights"],
        found["out_proj.rows"], strict=True,
    ):  # fmt: skip
        mixed = []
        for place in reversed(range(sizes.taken)):
            hidden, _ = mlp.hidden(rows[place][None])
            share = round_shift(hidden * int(weights[place]), 15)
            mixed.append(mlp.hadamard(share)[0])
        x, codes, _, _ = op.act(np.concatenate(mixed, -1), layer.out_proj.act_base)
        order = blocks[::-1]
        acc = op(x, codes, np.concatenate(q[order], 1), np.concatenate(code[order], 1))[0, 0]
        wide = round_shift(acc, layer.out_proj.acc_shift) << 15
        assert_array_equal(INT32(round_shift(wide, model.out_shift(layer) - 7)), want)
    assert len(np.unique(found["router.blocks"])) > sizes.n_shared + 1
    assert (found["router.weights"][:, : sizes.n_shared] == ONE).all()


@pytest.mark.parametrize("formats", FORMATS)
def test_blocks_take_the_upper_half_of_what_the_router_takes(formats):
    """As lanes with multipliers of four bits do: in one pass, where the router takes two."""
    sizes, model = SHAPES["granite"], model_of(SHAPES["granite"], FORMATS[formats])
    layer, (found, _) = model.layers[0], seen(model)
    op, eight = sizes.projection(model.formats, 0, "in_proj"), BlockQuant(8, 32, NIBBLES)
    q, code = found["in_proj.q"].astype(np.int8), found["in_proj.code"].astype(np.uint8)
    x = np.pad(found["embedding"], [(0, 0), (0, 64)]).astype(np.int64)
    assert_array_equal(eight(x, layer.linears["router"].act_base)[0], q)
    if op.act.via:
        q = ((q.astype(np.int64) + 8) >> 4).astype(np.int8)
        assert (q.min(), q.max()) == (-8, 7)
        assert_array_equal(op.act(x, layer.in_proj.act_base)[0], q)
    for v in range(len(q)):
        for place, block in enumerate(found["router.blocks"][v]):
            part = slice(block * sizes.block_rows, (block + 1) * sizes.block_rows)
            acc = op(q[v : v + 1], code[v : v + 1], layer.in_proj.q[part], layer.in_proj.code[part])
            wide = round_shift(acc[0, 0], layer.in_proj.acc_shift) * found["in_proj.rms"][v]
            shift = np.clip(found["in_proj.rms_shift"][v] + model.in_shift(layer)[part], 0, 62)
            assert_array_equal(INT16(round_shift(wide, shift)), found["in_proj.rows"][v, place])


def test_the_order_of_experts_does_not_matter():
    sizes, model = SHAPES["granite"], model_of(SHAPES["granite"])
    layer, order = model.layers[0], np.random.default_rng(1).permutation(6)
    blocks = np.concatenate([order, [6, 7]])

    def turned(name, each, order):
        linear = layer.linears[name]
        rows = (order[:, None] * each + np.arange(each)).ravel()
        return replace(linear, words=linear.words[rows], code=linear.code[rows])

    changed = layer.with_linears(
        router=turned("router", 1, order), in_proj=turned("in_proj", sizes.block_rows, blocks),
        out_proj=turned("out_proj", 64, blocks),
    )  # fmt: skip
    (first, lost), (second, also) = seen(model), seen(replace(model, layers=(changed,)))
    assert_array_equal(first["residual"], second["residual"])
    assert lost == also
    chosen = np.sort(order[second["router.blocks"][:, sizes.n_shared :]], -1)
    assert_array_equal(first["router.blocks"][:, sizes.n_shared :], chosen)


def test_nothing_is_computed_or_counted_of_the_other_blocks():
    """A block that no token takes may hold weights that saturate everywhere."""
    sizes, model = SHAPES["granite"], model_of(SHAPES["granite"])
    layer, (found, lost) = model.layers[0], seen(model, 2)
    (other, *_) = set(range(sizes.n_experts)) - set(found["router.blocks"].ravel())
    rows = slice(other * sizes.block_rows, (other + 1) * sizes.block_rows)
    words, code = layer.in_proj.words.copy(), layer.in_proj.code.copy()
    words[rows], code[rows] = 0x77, 255
    changed = layer.with_linears(in_proj=replace(layer.in_proj, words=words, code=code))
    again, also = seen(replace(model, layers=(changed,)), 2)
    assert_array_equal(again["residual"], found["residual"])
    assert lost == also
    assert seen(replace(model, layers=(changed,)), 40)[1]["in_proj"] > 0


def between_layers(shape, formats, layers=2):
    """A model of the shape next to layers of other kinds."""
    mamba, mlp = sizes(d_model=64).layers[0], kind("mlp").Sizes(48)
    config = ModelConfig(64, 100, (mamba, SHAPES[shape], mlp, SHAPES[shape])[:layers], False, 1e-5)
    return random_model(config, formats, 1)


def assert_equal_paths(model, batch, seqlen, **options):
    """Every observable, the state and all counters, by kernels and on numpy."""
    ids = token_ids(model.config, batch, seqlen)
    wanted, slow, lost = run(model, ids, compiled=False)
    found, fast, counted = run(model, ids, **options)
    assert found.keys() == wanted.keys()
    for observable, value in wanted.items():
        assert_array_equal(found[observable], value, err_msg=observable)
    assert_same_state(fast, slow)
    assert counted == lost


@pytest.mark.parametrize("isa", native.usable_isas())
@pytest.mark.parametrize("formats", FORMATS)
@pytest.mark.parametrize("name", SHAPES)
def test_kernels_give_the_same_integers(name, formats, isa):
    """One token takes few blocks, many tokens take most of them."""
    model = between_layers(name, FORMATS[formats], 4)
    for batch, seqlen, threads in ((1, 1, 2), (2, 3, 1), (3, 20, 2)):
        assert_equal_paths(model, batch, seqlen, isa=isa, threads=threads)


EXCEPTIONS = FormatException(1, "in_proj", 8, 8), FormatException(1, "out_proj", 4, 8)


@pytest.mark.parametrize("formats", [
    Formats(exceptions=EXCEPTIONS), Formats(8, 8, exceptions=EXCEPTIONS[1:]),
    Formats(hadamard=0), Formats(hadamard=1), Formats(hadamard=32),
], ids=["wider", "narrower", "whole transform", "none", "of 32"])  # fmt: skip
def test_kernels_of_other_formats(formats):
    for name in ("granite", "nemotron"):
        assert_equal_paths(between_layers(name, formats), 2, 5)


def test_kernels_of_a_whole_piece_and_of_equal_scores():
    """256 tokens of one call; and a router whose rows are all the same."""
    model = between_layers("granite", Formats())
    assert_equal_paths(model, 4, 64, threads=2)
    layer = model.layers[1]
    router = layer.linears["router"]
    rows = {name: np.repeat(getattr(router, name)[:1], 6, 0) for name in ("words", "code")}
    equal = layer.with_linears(router=replace(router, **rows))
    model = replace(model, layers=(model.layers[0], equal))
    assert_equal_paths(model, 2, 9)
    seen = run(model, token_ids(model.config, 1, 3))[0]["layer.1.router.blocks"]
    assert_array_equal(seen.reshape(3, 4), [[6, 7, 0, 1]] * 3)


def test_what_saturates_is_counted_by_the_kernels():
    """Counters are equal where the router, rows and hidden values saturate."""
    model = model_of(SHAPES["granite"])
    layer = model.layers[0]
    far = replace(layer.mixer.exponents, router=1, a=-22, b=-22, hidden=-40)
    router = layer.linears["router"]
    layer = replace(layer, mixer=replace(layer.mixer, exponents=far)).with_linears(
        router=replace(router, base=router.base + 26)
    )
    model = replace(model, layers=(layer,))
    ids = token_ids(model.config, 2, 9)
    (*_, lost), (*_, counted) = run(model, ids, compiled=False), run(model, ids)
    assert counted == lost
    assert all(lost[name] > 0 for name in ("router", "experts.hidden", "in_proj", "clipped"))


def test_blocks_of_16_go_by_operations():
    """Kernels of a whole pass take blocks of 32 only."""
    model = random_model(model_of(SHAPES["granite"]).config, Formats(block=16), 1)
    engine = Engine(model)
    assert isinstance(engine.ops, Native)
    assert engine.kernels is None
    assert_equal_paths(model, 3, 20)


@pytest.mark.parametrize("name", SHAPES)
def test_a_file_keeps_it(name, tmp_path):
    model = model_of(SHAPES[name])
    (tmp_path / "m.safetensors").write_bytes(to_bytes(model))
    again = load(tmp_path / "m.safetensors")
    assert_array_equal(seen(again)[0]["residual"], seen(model)[0]["residual"])


def test_the_router_has_the_input_of_the_blocks():
    model = model_of(SHAPES["granite"])
    layer = model.layers[0]
    wrong = replace(layer.in_proj, act_base=layer.in_proj.act_base + 1)
    layers = (layer.with_linears(in_proj=wrong),)
    sentence = f"layers.0.in_proj.act_base is {wrong.act_base}, expected {wrong.act_base - 1} to "
    with pytest.raises(InputError, match=sentence):
        to_bytes(replace(model, layers=layers))


@pytest.mark.parametrize("name", ["router", "in_proj", "out_proj"])
def test_extras_of_comparison_recipes_are_refused(name):
    model = model_of(SHAPES["granite"])
    layer = model.layers[0]
    linear = layer.linears[name]
    extra = replace(linear, bias=np.zeros(linear.shape[0], np.int32))
    with pytest.raises(InputError, match=f"layers.0.{name} has an input scale, an inpu"):
        to_bytes(replace(model, layers=(layer.with_linears(**{name: extra}),)))


@pytest.mark.parametrize("compiled", [True, False])
def test_tokens_that_stay_undecided(compiled):
    """Accepted or given up, with experts next to a layer that has a state."""
    model = between_layers("granite", FORMATS["w4a4"])
    engine, ids = Engine(model, compiled=compiled), token_ids(model.config, 1, 9)[0]
    state = engine.empty_state(1, undecided=4)
    engine.run(Pass((Slot(0, ids[:5], commit=2),)), state)
    found = engine.run(Pass((Slot(0, ids[4:], replay=2),)), state)
    plain = engine.empty_state(1)
    wanted, plain = engine.forward(ids[None], plain)
    assert_array_equal(found, wanted[0])
    assert_array_equal(state.data, plain.data)


def test_every_loss_has_a_counter_from_the_beginning():
    counters = Engine(model_of(SHAPES["granite"])).counters
    assert {"router", "experts.hidden", "in_proj", "head"} <= counters.keys()
    assert "ssm.h" not in counters


def test_bytes_of_a_token_are_of_the_blocks_that_it_takes():
    sizes, model = SHAPES["granite"], model_of(SHAPES["granite"])
    rows = {"router": 6, "in_proj": 4 * 80, "out_proj": 4 * 64}
    want = sum(
        count * (linear.words.shape[1] + linear.code.shape[1])
        for name, linear in model.layers[0].linears.items()
        for count in (rows[name],)
    )
    assert sizes.taken == 4
    assert model.bytes_per_token()["projections"] == want


@pytest.mark.parametrize(("changes", "sentence"), [
    ({"top_k": 7}, "top_k must be at most n_experts 6, not 7"),
    ({"n_shared": 0}, "n_shared must be a positive whole number, not 0"),
    ({"scoring": "max"}, "scoring must be softmax or sigmoid, not 'max'"),
    ({"activation": "gelu"}, "activation must be silu or relu2, not 'gelu'"),
])  # fmt: skip
def test_sizes_that_cannot_be(changes, sentence):
    with pytest.raises(ValueError, match=sentence):
        replace(SHAPES["granite"], **changes)
