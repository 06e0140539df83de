"""The chunked form and the recurrent step are the same function, to the last digits of float64."""

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.utils._python_dispatch import TorchDispatchMode

from lightmamba.model.config import ModelConfig, mamba2_config
from tests.support.checkpoints import UNTIED, float_model
from tests.support.layers import resized


@st.composite
def configs(draw: st.DrawFn) -> ModelConfig:
    headdim = draw(st.sampled_from([16, 32, 64, 128]))
    ngroups = draw(st.sampled_from([1, 2, 8]))
    narrow = headdim * ngroups <= 128  # keep the test quick
    heads_per_group = draw(st.integers(1, 3)) if narrow else 1
    d_inner = headdim * ngroups * heads_per_group
    return mamba2_config(
        d_model=d_inner // 2,
        n_layer=2,
        vocab_size=40,
        d_state=draw(st.sampled_from([16, 40, 128, 256])),
        headdim=headdim,
        ngroups=ngroups,
        d_conv=draw(st.integers(2, 4)),
        chunk_size=draw(st.sampled_from([1, 4, 7, 16])),
        conv_bias=draw(st.booleans()),
        tie_embeddings=draw(st.booleans()),
        dt_limit=draw(st.sampled_from([(0.0, math.inf), (0.01, 0.1)])),
    )


def run_steps(model, ids, caches=None):
    logits = []
    for token in ids.T:
        out, caches = model.step(token, caches)
        logits.append(out)
    return torch.stack(logits, 1), caches


def tokens(config, seqlen, batch=2):
    return torch.randint(
        config.vocab_size, (batch, seqlen), generator=torch.Generator().manual_seed(seqlen)
    )


def assert_same(actual, expected):
    atol = 1e-9 * max(1.0, expected.abs().max().item())
    torch.testing.assert_close(actual, expected, rtol=0, atol=atol)


def assert_same_caches(actual, expected):
    for ours, theirs in zip(actual, expected, strict=True):
        assert_same(ours.conv_state, theirs.conv_state)
        assert_same(ours.ssm_state, theirs.ssm_state)


class DtypeRecorder(TorchDispatchMode):
    """Notes operations that put out floats narrower than float64."""

    def __init__(self):
        super().__init__()
        self.operations, self.narrow = 0, []

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        out = func(*args, **(kwargs or {}))
        self.operations += 1
        for value in out if isinstance(out, tuple | list) else (out,):
            floats = isinstance(value, torch.Tensor) and value.is_floating_point()
            if floats and value.dtype != torch.float64:
                self.narrow.append((str(func), value.dtype))
        return out


@given(config=configs(), seqlen=st.integers(1, 33))
def test_chunks_equal_steps(config, seqlen):
    model = float_model(config, dtype=torch.float64)
    ids = tokens(config, seqlen)
    chunked, after_chunks = model(ids)
    stepped, after_steps = run_steps(model, ids)
    assert_same(chunked, stepped)
    assert_same_caches(after_chunks, after_steps)


@settings(max_examples=15)
@given(config=configs(), seqlen=st.integers(2, 24), data=st.data())
def test_split_sequence_carries_on(config, seqlen, data):
    """Two forward calls with the cache between, the first also shorter than the convolution."""
    model = float_model(config, dtype=torch.float64)
    ids = tokens(config, seqlen)
    cut = data.draw(st.integers(1, seqlen - 1) | st.just(1))
    whole, after_whole = model(ids)
    first, caches = model(ids[:, :cut])
    second, after_second = model(ids[:, cut:], caches)
    assert_same(torch.cat([first, second], 1), whole)
    assert_same_caches(after_second, after_whole)
    assert_same(run_steps(model, ids[:, cut:], caches)[0], whole[:, cut:])


@pytest.mark.parametrize("chunk_size", [1, 5, 64])
def test_chunk_size_does_not_matter(chunk_size):
    expected, _ = float_model(UNTIED, dtype=torch.float64)(tokens(UNTIED, 23))
    config = resized(UNTIED, chunk_size=chunk_size)
    actual, _ = float_model(config, dtype=torch.float64)(tokens(config, 23))
    assert_same(actual, expected)


def test_a_run_leaves_the_given_caches_alone():
    """A caller may go on from one cache twice."""
    model = float_model(dtype=torch.float64)
    _, caches = model(tokens(UNTIED, 9))
    once, _ = model(tokens(UNTIED, 5), caches)
    model.step(tokens(UNTIED, 1)[:, 0], caches)
    again, _ = model(tokens(UNTIED, 5), caches)
    torch.testing.assert_close(again, once, rtol=0, atol=0)


@pytest.mark.parametrize("path", ["forward", "step"])
def test_no_hidden_cast(path):
    """Every floating-point result of every operation is float64."""
    model = float_model(resized(UNTIED, ngroups=2), dtype=torch.float64)
    seen = DtypeRecorder()
    with seen:
        ids = tokens(UNTIED, 11)
        _ = model(ids) if path == "forward" else run_steps(model, ids)
    assert seen.operations > 50
    assert seen.narrow == []
