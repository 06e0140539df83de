"""The float model against transformers' Mamba2ForCausalLM, on random weights of many shapes."""

import math

import pytest
import torch

from lightmamba.model.config import ModelConfig, mamba2_config
from tests.support.checkpoints import UNTIED, float_model, transformers_model
from tests.support.layers import resized

BASE = mamba2_config(d_model=64, n_layer=2, vocab_size=96, d_state=16, headdim=32, chunk_size=16)

# name: config, length of the sequence
CASES = {
    "plain": (BASE, 32),
    "two groups, odd width, untied, remainder": (
        resized(BASE, d_model=192, ngroups=2, headdim=64, d_state=32, tie_embeddings=False),
        37,
    ),
    "eight groups": (resized(BASE, d_model=128, ngroups=8, headdim=16), 21),
    "width 80, headdim 16": (resized(BASE, d_model=80, headdim=16, d_state=24), 33),
    "headdim 128, d_state 256": (
        resized(BASE, d_model=128, headdim=128, d_state=256, tie_embeddings=False),
        19,
    ),
    "no bias of the convolution": (resized(BASE, conv_bias=False), 23),
    "dt limits that bite": (resized(BASE, dt_limit=(0.01, 0.1), ngroups=2), 35),
    "lower dt limit only": (resized(BASE, dt_limit=(0.05, math.inf)), 17),
    "expand 4, two taps, large eps": (
        resized(BASE, d_model=48, expand=4, d_conv=2, eps=1e-2, headdim=16, ngroups=4),
        40,
    ),
    "one chunk, one token": (resized(BASE, chunk_size=256), 1),
    "shorter than the convolution": (resized(BASE, d_conv=4), 3),
}


def logits_of(config: ModelConfig, seqlen: int, **overrides):
    model = float_model(config, seed=seqlen)
    ids = torch.randint(config.vocab_size, (2, seqlen), generator=torch.Generator().manual_seed(1))
    with torch.no_grad():
        theirs = transformers_model(model, **overrides)(ids, use_cache=False).logits
        return model(ids)[0], theirs


@pytest.mark.parametrize("name", CASES)
def test_agrees_with_transformers(name):
    ours, theirs = logits_of(*CASES[name])
    torch.testing.assert_close(
        ours, theirs, rtol=0, atol=1e-4 * max(1.0, theirs.abs().max().item())
    )


@pytest.mark.parametrize(
    "overrides", [{"time_step_limit": (0.01, 0.1)}, {"layer_norm_epsilon": 0.1}]
)
def test_comparison_notices(overrides):
    """A setting that differs between the two shows: the weights are such that it matters."""
    ours, theirs = logits_of(UNTIED, 19, **overrides)
    assert (ours - theirs).abs().max() > 1e-2 * theirs.abs().max()
