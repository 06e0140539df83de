"""The outlier twin: the same function, with heavy outliers where quantizers look."""

import numpy as np
import pytest
import torch

from lightmamba.blocks.floating import rms_norm
from lightmamba.quantization.outliers import make_outlier_twin
from tests.quantization.cases import SHAPES, assert_same_function, logits_of, wild_model
from tests.support.builders import token_ids
from tests.support.layers import sizes_of


@pytest.mark.parametrize("config", SHAPES.values(), ids=SHAPES)
def test_twin_has_the_same_function(config):
    model = wild_model(config)
    before = {name: value.clone() for name, value in model.state_dict().items()}
    twin = make_outlier_twin(model, token_ids(config, 10, 20, seed=1), seed=4)
    assert_same_function(logits_of(model), twin)
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())
    assert not twin.config.tie_embeddings
    assert twin.lm_head.weight is not twin.embedding.weight


@torch.no_grad()
def test_residual_lies_along_its_principal_axes():
    config = SHAPES["192-two-groups"]
    model = wild_model(config)
    # A residual stream with a few strong directions, hidden from the channels.
    turn = torch.linalg.qr(torch.randn(192, 192, generator=torch.Generator().manual_seed(0)))[0]
    strength = torch.logspace(1, -1, 192, dtype=torch.float64)
    model.embedding.weight.copy_(model.embedding.weight * strength @ turn.double())
    ids = token_ids(config, 10, 30, seed=1)
    twin = make_outlier_twin(model, ids, seed=4)
    spread = []
    for m in (model, twin):
        u = m.embedding(torch.from_numpy(ids))
        streams = [u]
        for layer in m.layers:
            u, _ = layer(u, layer.mixer.empty_cache(len(u)))
            streams.append(u)
        ones = torch.ones(192, dtype=torch.float64)
        flat = torch.cat([rms_norm(s, ones, config.eps).flatten(0, 1) for s in streams])
        spread.append(flat.T @ flat / len(flat))
    energy = spread[1].diagonal().numpy()
    assert energy[0] > 4 * float(spread[0].diagonal().max())
    assert (np.diff(energy) <= 1e-9).all()  # sorted
    apart = spread[1] - torch.diag(spread[1].diagonal())
    assert float(apart.abs().max()) < 1e-9 * energy[0]  # and uncorrelated


@pytest.mark.parametrize(("factor", "share"), [(50.0, 1 / 32), (8.0, 1 / 8), (1.0, 1.0)])
def test_a_share_of_the_gated_norm_is_scaled_up(factor, share):
    config = SHAPES["192-two-groups"]
    model = wild_model(config)
    twin = make_outlier_twin(
        model, token_ids(config, 2, 20, seed=1), seed=4, factor=factor, share=share
    )
    places = []
    for before, after in zip(model.layers, twin.layers, strict=True):
        ratio = (after.mixer.norm / before.mixer.norm).detach().numpy()
        scaled = np.flatnonzero(ratio != 1)
        places.append(set(scaled))
        assert len(scaled) == (0 if factor == 1 else share * sizes_of(config).d_inner)
        assert ((ratio >= 1) & (ratio <= factor * (1 + 1e-12))).all()
    assert factor == 1 or places[0] != places[1]
    if share > 0.1 and factor > 1:  # enough channels to see that factors are log-uniform
        assert 0.3 * np.log(factor) < np.log(ratio[scaled]).mean() < 0.7 * np.log(factor)


def test_the_seed_decides():
    config = SHAPES["tied"]
    ids = token_ids(config, 2, 20, seed=1)
    norms = [
        make_outlier_twin(wild_model(config), ids, seed=seed).layers[0].mixer.norm.detach()
        for seed in (0, 0, 1)
    ]
    assert torch.equal(norms[0], norms[1])
    assert not torch.equal(norms[0], norms[2])


@pytest.mark.parametrize(("factor", "share"), [(0.5, 0.1), (2.0, 1.5), (2.0, -0.1)])
def test_impossible_outliers_are_refused(factor, share):
    config = SHAPES["tied"]
    with pytest.raises(ValueError, match="factor must be >= 1 and share in"):
        make_outlier_twin(wild_model(config), token_ids(config, 1, 20, 0), 0, factor, share)
