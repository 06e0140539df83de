"""Calibration's sums against a direct computation; sampled sequences."""

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from lightmamba.blocks.floating import rms_norm
from lightmamba.quantization.calibrate import (
    PIECE,
    InputTrace,
    LayerTrace,
    run_layer,
    sample_sequences,
)
from tests.quantization.cases import SHAPES, wild_model
from tests.support.builders import token_ids


def trace_layer(layer, u, batch=8):
    trace = LayerTrace()
    return torch.cat([run_layer(layer, part, trace.see) for part in u.split(batch)]), trace


def direct(layer, u):
    """Every traced value of a layer, (batch, seqlen, channels), token by token in plain loops."""
    mixer, c = layer.mixer, layer.mixer.sizes
    seen = {"in_proj.input": rms_norm(u, layer.norm, layer.eps)}
    rows = seen["rows"] = seen["in_proj.input"] @ mixer.in_proj.weight.T
    part = {name: rows[..., at] for name, at in c.sections().items()}
    xBC = torch.cat([part["x"], part["B"], part["C"]], -1).transpose(1, 2)
    conv = F.conv1d(
        F.pad(xBC, (c.d_conv - 1, 0)), mixer.conv1d.weight, mixer.conv1d.bias, groups=c.conv_dim
    )
    seen["conv"] = conv.transpose(1, 2)
    bc = c.ngroups * c.d_state
    x, B, C = F.silu(seen["conv"]).split([c.d_inner, bc, bc], -1)
    x = x.unflatten(-1, (c.nheads, c.headdim))
    per = c.nheads // c.ngroups
    B, C = (t.unflatten(-1, (c.ngroups, -1)).repeat_interleave(per, 2) for t in (B, C))
    dt = F.softplus(part["dt"] + mixer.dt_bias).clamp(*c.dt_limit)
    h, states, y = torch.zeros(len(u), c.nheads, c.headdim, c.d_state, dtype=u.dtype), [], []
    for t in range(u.shape[1]):
        decay = (-dt[:, t] * mixer.A_log.exp())[..., None, None].exp()
        h = decay * h + torch.einsum("bh,bhp,bhn->bhpn", dt[:, t], x[:, t], B[:, t])
        states.append(h)
        y.append(torch.einsum("bhpn,bhn->bhp", h, C[:, t]) + mixer.D[:, None] * x[:, t])
    seen["state"] = torch.stack(states, 1)
    seen["y"] = torch.stack(y, 1).flatten(2)
    seen["gate"] = seen["y"] * F.silu(part["z"])
    normed = rms_norm(seen["gate"], mixer.norm, c.eps, c.ngroups)
    seen["gate.normed"] = seen["out_proj.input"] = normed
    return seen, u + normed @ mixer.out_proj.weight.T


@pytest.mark.parametrize("name", ["192-two-groups", "80-no-conv-bias", "48-dt-limit"])
@torch.no_grad()
def test_trace_is_the_direct_computation(name):
    """Batches of 2 of 3 sequences, pieces of 32 of 70 tokens: every seam is crossed."""
    config = SHAPES[name]
    model = wild_model(config)
    u = model.embedding(torch.from_numpy(token_ids(config, 3, 70, seed=2)))
    layer = model.layers[0]
    out, trace = trace_layer(layer, u, batch=2)
    seen, wanted = direct(layer, u)
    torch.testing.assert_close(out, wanted, rtol=1e-9, atol=1e-9)
    ends = [PIECE - 1, 2 * PIECE - 1, 69]  # the state is looked at where pieces end
    seen["state"] = seen["state"][:, ends].flatten(2)
    assert trace.ranges.keys() == seen.keys()
    for key, value in seen.items():
        largest = value.abs().amax((0, 1)).numpy()
        np.testing.assert_allclose(trace.ranges[key], largest, rtol=1e-9, err_msg=key)
    for every in (1, 7):
        inputs = InputTrace(every)
        run_layer(layer, u, inputs.see)
        for key in ("in_proj.input", "out_proj.input"):
            flat = seen[key].flatten(0, 1)
            torch.testing.assert_close(inputs.low[key], flat.amin(0))
            torch.testing.assert_close(inputs.high[key], flat.amax(0))
            kept = inputs.inputs(key)
            assert len(kept) == -(-len(flat) // every)
            distance = (kept[:, None] - flat).abs().amax(-1).amin(1)
            assert float(distance.max()) < 1e-6


def test_trace_leaves_no_observer():
    model = wild_model(SHAPES["tied"])
    layer = model.layers[0]
    trace_layer(layer, torch.zeros(1, 5, 64, dtype=torch.float64))
    assert layer.mixer.observe is None
    with pytest.raises(RuntimeError):
        trace_layer(layer, torch.zeros(1, 5, 63, dtype=torch.float64))
    assert layer.mixer.observe is None


def test_sampled_sequences_follow_the_seed_and_the_vocabulary():
    model = wild_model(SHAPES["tied"])
    first, again, other = (
        sample_sequences(model, 50, sequences=4, seqlen=12, seed=seed) for seed in (1, 1, 2)
    )
    assert first.shape == (4, 12)
    assert first.dtype == np.int64
    np.testing.assert_array_equal(first, again)
    assert (first != other).any()
    assert first.min() >= 0
    assert max(first.max(), other.max()) < 50 < model.config.vocab_size


def test_sampled_sequences_come_from_the_model():
    """A head that knows one token only: every token but the first is that one."""
    model = wild_model(SHAPES["52-without-hadamard"], dtype=torch.float32)
    model.lm_head.weight = torch.nn.Parameter(torch.zeros_like(model.lm_head.weight))
    model.norm_f.data.fill_(1)
    model.embedding.weight.data.abs_()
    for layer in model.layers:
        layer.mixer.out_proj.weight.data.zero_()
    model.lm_head.weight.data[17] = 9.0
    drawn = sample_sequences(model, 61, sequences=3, seqlen=6, seed=0)
    assert (drawn[:, 1:] == 17).all()
