"""Passes that keep the function, alone and together, on random models in float64."""

import copy

import numpy as np
import pytest
import torch

from lightmamba.common.errors import InputError
from lightmamba.numerics.gate import OnlineHadamard as HadamardOp
from lightmamba.numerics.hadamard import random_rotation
from lightmamba.quantization.passes import (
    FuseNorms,
    OnlineHadamard,
    OutlierSuppression,
    Pass,
    QuantizeWeights,
    Rotate,
    SmoothQuant,
)
from lightmamba.quantization.rotation import Adam, Rotation
from lightmamba.quantization.transforms import (
    GroupedHadamard,
    Shift,
    fold_gate_weight,
    fuse_layer,
    insert_hadamard,
    rotate_layer,
)
from tests.quantization.cases import (
    MIXED,
    SHAPES,
    assert_same_function,
    logits_of,
    rewritten,
    wild_model,
)
from tests.support.builders import token_ids

PASSES: dict[str, tuple[Pass, ...]] = {
    "fuse": (FuseNorms(),),
    "rotate": (FuseNorms(), Rotate()),
    "hadamard-keep": (OnlineHadamard(gate_weight="keep"),),
    "hadamard-fold": (OnlineHadamard(gate_weight="fold"),),
    "hadamard-measure": (OnlineHadamard(gate_weight="measure"),),
    "hadamard-16": (QuantizeWeights(group=32), OnlineHadamard(order=16, gate_weight="keep")),
    "hadamard-whole-group": (QuantizeWeights(group=32), OnlineHadamard(order=0)),
    "no-transform": (OnlineHadamard(order=1, gate_weight="fold"),),
    "smoothquant": (SmoothQuant(),),
    "osplus": (OutlierSuppression(steps=4),),
    "scalings": (SmoothQuant(alpha=0.7), OutlierSuppression(steps=3)),
    "scalings-swapped": (OutlierSuppression(steps=3), SmoothQuant(alpha=0.3)),
    "scaled-after-rotation": (FuseNorms(), Rotate(), SmoothQuant(), OutlierSuppression(steps=3)),
    "all-rotations": (FuseNorms(), Rotate(), OnlineHadamard()),
}


@pytest.mark.parametrize("config", SHAPES.values(), ids=SHAPES)
def test_logits_stay(config):
    before = wild_model(config)
    wanted, own = logits_of(before), dict(before.named_parameters())
    for name, passes in PASSES.items():
        after = rewritten(before, passes, token_ids(config, 3, 40, seed=5), seed=7)
        assert any(
            which not in own or not torch.equal(parameter, own[which])
            for which, parameter in after.named_parameters()
        ), name
        assert_same_function(wanted, after, name)


@pytest.mark.parametrize("config", MIXED.values(), ids=MIXED)
def test_logits_of_experts_stay(config):
    """The choice too: its scores turn with the stream."""
    before = wild_model(config)
    wanted = logits_of(before)
    for name in ("fuse", "rotate", "hadamard-keep", "all-rotations"):
        after = rewritten(before, PASSES[name], token_ids(config, 3, 40, seed=5), seed=7)
        assert_same_function(wanted, after, name)


def test_channels_can_be_shifted_again():
    config = SHAPES["80-no-conv-bias"]
    after = wild_model(config)
    wanted = logits_of(after)
    for seed in (5, 6):  # other tokens have other middles
        after = rewritten(after, [OutlierSuppression(steps=2)], token_ids(config, 3, 40, seed), 7)
        assert_same_function(wanted, after)


def test_a_fused_norm_is_one():
    layer = wild_model(SHAPES["tied"]).layers[0]
    fuse_layer(layer)
    assert bool((layer.norm == 1).all())
    assert not bool((layer.mixer.norm == 1).any())  # the gated norm is kept


def test_rotation_of_an_unfused_layer_is_refused():
    layer = wild_model(SHAPES["tied"]).layers[0]
    fuse_layer(layer)
    layer.norm.data[5] = 2.0
    before = copy.deepcopy(layer.state_dict())
    with pytest.raises(ValueError, match="must be fused before"):
        rotate_layer(layer, Rotation.random(64, 0))
    assert all(torch.equal(value, before[name]) for name, value in layer.state_dict().items())


@pytest.mark.parametrize(
    ("order", "pad", "groups", "group_dim"),
    [(128, 128, 2, 192), (16, 32, 3, 40), (0, 32, 1, 96), (0, 4, 2, 20), (1, 128, 2, 80)],
)
def test_float_transform_is_the_integer_one(order, pad, groups, group_dim):
    """Orders 96 = 12·8 and 20 are not symmetric: a transposed matrix would show."""
    op = HadamardOp(order, pad)
    x = np.random.default_rng(1).integers(-1000, 1000, (3, groups * group_dim))
    wanted, lost = op(x, groups, 0)
    transform = GroupedHadamard(op, groups, group_dim)
    got = transform(torch.from_numpy(x.astype(np.float64))).numpy() * np.sqrt(transform.size)
    assert lost == 0
    np.testing.assert_allclose(got, wanted, atol=1e-8)


def test_passes_that_would_undo_one_another_are_refused():
    config = SHAPES["tied"]
    model, ids = wild_model(config), token_ids(config, 2, 33, seed=0)
    for layer in model.layers:
        insert_hadamard(layer, HadamardOp(128))
    first = model.layers[0]
    with pytest.raises(ValueError, match="transformed or shifted already"):
        insert_hadamard(first, HadamardOp(128))
    with pytest.raises(ValueError, match="before its output is transformed"):
        fold_gate_weight(first)
    with pytest.raises(ValueError, match="after an on-line Hadamard"):
        rewritten(model, [SmoothQuant()], ids, 0)

    model = wild_model(config)
    model = rewritten(model, [FuseNorms(), OutlierSuppression(steps=1)], ids, 0)
    assert isinstance(model.layers[0].before_in, Shift)
    with pytest.raises(ValueError, match="before channels are shifted"):
        fuse_layer(model.layers[0])
    with pytest.raises(ValueError, match="before channels are shifted"):
        rotate_layer(model.layers[0], Rotation.random(64, 0))
    with pytest.raises(ValueError, match="transformed or shifted already"):
        insert_hadamard(model.layers[0], HadamardOp(128))


def test_passes_that_look_come_after_those_that_do_not():
    """The stream that a layer is given is turned already, wherever the pass stands."""
    config = SHAPES["tied"]
    before, ids = wild_model(config), token_ids(config, 3, 40, seed=5)
    passes = (OnlineHadamard(), FuseNorms(), Rotate())
    one = rewritten(before, passes, ids, 7)
    other = rewritten(before, (*passes[1:], passes[0]), ids, 7)
    for a, b in zip(one.parameters(), other.parameters(), strict=True):
        assert torch.equal(a, b)


@pytest.mark.parametrize("order", [1, 12, 52, 80, 256, 768, 2560])
def test_the_fast_rotation_is_the_matrix(order):
    matrix = random_rotation(order, 5)
    x = np.random.default_rng(1).standard_normal((3, order))
    got = Rotation.random(order, 5)(torch.from_numpy(x)).numpy()
    np.testing.assert_allclose(got, x @ matrix, atol=1e-12)


@pytest.mark.parametrize("order", [52, 96, 256])
def test_a_learned_rotation_flattens_peaks_and_keeps_lengths(order):
    """Inputs of few directions, whose peaks a Hadamard matrix leaves as high as any others."""
    rng = np.random.default_rng(3)
    few = rng.laplace(size=(2, 200, 6)) @ rng.standard_normal((2, 6, order))
    random = Rotation.random(order, 5)
    x = random(torch.from_numpy(few).float())
    learned = random.learned(x, block=32, steps=40, seed=1)
    again = random.learned(x, block=32, steps=40, seed=1)
    turned = learned(torch.from_numpy(few))
    assert torch.equal(turned, again(torch.from_numpy(few)))
    runs, size = learned.runs
    assert learned.blocks is not None
    assert (runs * size, learned.blocks.shape) == (order, (runs, size, size))
    np.testing.assert_allclose(turned @ turned.mT, few @ few.swapaxes(1, 2), atol=1e-9)

    def peaks(y):
        blocks = torch.nn.functional.pad(y, (0, -order % 32)).unflatten(-1, (-1, 32))
        return float(blocks.abs().amax(-1).square().sum() / y.square().sum())

    assert peaks(turned) < 0.93 * peaks(x.double())


@pytest.mark.slow
def test_adam_is_that_of_torch():
    generator = torch.Generator().manual_seed(2)
    ours, theirs = torch.zeros(3, 8), torch.zeros(3, 8, requires_grad=True)
    adam, other = Adam(ours), torch.optim.Adam([theirs])
    for rate in (0.01, 0.01, 0.007, 0.002):
        theirs.grad = torch.randn(3, 8, generator=generator)
        other.param_groups[0]["lr"] = rate
        other.step()
        adam.step(theirs.grad, rate)
    assert torch.equal(ours, theirs)


def test_a_block_of_zeros_is_no_obstacle():
    x = torch.zeros(1, 8, 64)
    x[..., :32] = torch.from_numpy(np.random.default_rng(0).standard_normal((1, 8, 32))).float()
    blocks = Rotation.random(64, 0).learned(x, block=32, steps=2, seed=0).blocks
    assert blocks is not None
    assert blocks.isfinite().all()


def test_norm_group_without_a_hadamard_matrix_is_bad_input():
    model = wild_model(SHAPES["48-dt-limit"])  # a norm group of 96, padded to 100
    with pytest.raises(InputError, match="write order = 128"):
        insert_hadamard(model.layers[0], HadamardOp(0, pad=100 // 2))
