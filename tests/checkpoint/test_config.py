"""config.json as it occurs, in both layouts, and what is refused by name."""

import json
import math
import re
from typing import Any

import pytest

from lightmamba.common.errors import InputError
from lightmamba.model.checkpoint.layouts import read_config
from lightmamba.model.config import mamba2_config

from ..support.layers import sizes_of

HF: dict[str, Any] = {
    "model_type": "mamba2",
    "hidden_size": 32,
    "num_heads": 4,
    "head_dim": 16,
    "n_groups": 2,
    "num_hidden_layers": 3,
    "state_size": 16,
    "vocab_size": 64,
}
SSM: dict[str, Any] = {
    "d_model": 32,
    "n_layer": 3,
    "vocab_size": 61,
    "ssm_cfg": {"layer": "Mamba2", "d_state": 16, "headdim": 16},
}


@pytest.fixture
def read(tmp_path):
    def read(raw):
        path = tmp_path / "config.json"
        path.write_text(raw if isinstance(raw, str) else json.dumps(raw))
        return read_config(path)

    return read


def test_transformers_keys(read):
    written = HF | {
        "expand": 2.0,
        "conv_kernel": 3,
        "chunk_size": 8,
        "use_conv_bias": False,
        "tie_word_embeddings": True,
        "layer_norm_epsilon": 1e-6,
        "time_step_limit": [0.01, 0.1],
        "time_step_min": 0.02,  # steers training only
        "eos_token_id": [3, 4],
        "bos_token_id": None,
        "license": "mit",
    }
    found = read(written)
    assert found.published.config == mamba2_config(
        d_model=32, n_layer=3, vocab_size=64, d_state=16, headdim=16, ngroups=2, d_conv=3,
        chunk_size=8, conv_bias=False, tie_embeddings=True, eps=1e-6, dt_limit=(0.01, 0.1),
    )  # fmt: skip
    assert found.published.valid_vocab == 64
    assert found.special_ids == {"bos": None, "eos": [3, 4], "pad": None}
    assert found.licence == "mit"


def test_transformers_defaults(read):
    """Missing keys and null mean what transformers' Mamba2Config would say."""
    from transformers import Mamba2Config as Theirs

    theirs = Theirs()
    expected = mamba2_config(
        d_model=theirs.hidden_size, n_layer=theirs.num_hidden_layers, vocab_size=theirs.vocab_size,
        d_state=theirs.state_size, headdim=theirs.head_dim, ngroups=theirs.n_groups,
        expand=theirs.expand, d_conv=theirs.conv_kernel, chunk_size=theirs.chunk_size,
        conv_bias=theirs.use_conv_bias, tie_embeddings=theirs.tie_word_embeddings,
        eps=theirs.layer_norm_epsilon, dt_limit=(0.0, math.inf),
    )  # fmt: skip
    assert sizes_of(expected).ngroups == 8
    assert sizes_of(expected).dt_limit == tuple(theirs.time_step_limit)
    assert read({"model_type": "mamba2"}).published.config == expected
    assert (
        read({"architectures": ["Mamba2ForCausalLM"], "n_groups": None}).published.config
        == expected
    )


def test_mamba_ssm_keys(read):
    ssm_cfg = SSM["ssm_cfg"] | {
        "ngroups": 2, "expand": 4, "d_conv": 3, "conv_bias": False, "chunk_size": 8, "d_ssm": 128,
        "dt_limit": [0.0, 0.1], "D_has_hdim": False, "A_init_range": [1, 16],
    }  # fmt: skip
    written = SSM | {
        "ssm_cfg": ssm_cfg,
        "pad_vocab_size_multiple": 16,
        "tie_embeddings": False,
        "attn_layer_idx": [],
        "d_intermediate": 0,
        "rms_norm": True,
    }
    found = read(written)
    assert found.published.config == mamba2_config(
        d_model=32, n_layer=3, vocab_size=64, d_state=16, headdim=16, ngroups=2, expand=4, d_conv=3,
        chunk_size=8, conv_bias=False, tie_embeddings=False, dt_limit=(0.0, 0.1),
    )  # fmt: skip
    assert found.published.valid_vocab == 61


def test_mamba_ssm_defaults(read):
    """The published mamba2-130m says no more than this."""
    found = read(
        {
            "d_model": 768,
            "n_layer": 24,
            "vocab_size": 50277,
            "ssm_cfg": {"layer": "Mamba2"},
            "pad_vocab_size_multiple": 16,
        }
    )
    assert found.published.config == mamba2_config(
        d_model=768, n_layer=24, vocab_size=50288, chunk_size=256
    )
    assert found.published.valid_vocab == 50277
    assert read(SSM).published.config.vocab_size == 64  # padded to a multiple of 8 by default


def with_limit(layout, limit):
    """Text of a config with this limit of dt, as it may be written."""
    key = "time_step_limit" if layout is HF else "ssm_cfg"
    value = "LIMIT" if layout is HF else SSM["ssm_cfg"] | {"dt_limit": "LIMIT"}
    return json.dumps(layout | {key: value}).replace('"LIMIT"', limit)


@pytest.mark.parametrize(
    ("limit", "expected"),
    [
        ('[0.0, {"__float__": "Infinity"}]', (0.0, math.inf)),
        ("[0.0, Infinity]", (0.0, math.inf)),
        ("[0, 1]", (0.0, 1.0)),
        ("null", (0.0, math.inf)),
        ("[0.001, null]", (0.001, math.inf)),
        ('[0.001, "inf"]', (0.001, math.inf)),
    ],
)
def test_dt_limit_forms(read, limit, expected):
    for layout in (HF, SSM):
        found = read(with_limit(layout, limit)).published.config
        assert sizes_of(found).dt_limit == expected


UNSUPPORTED: dict[str, Any] = {
    "use_bias": True,
    "hidden_act": "gelu",
    "attn_layer_idx": [1, 2],
    "d_intermediate": 64,
    "rms_norm": False,
    "norm_before_gate": True,
    "quantization_config": {"bits": 4},
}
OF_SSM: dict[str, Any] = {
    "bias": True,
    "rmsnorm": False,
    "D_has_hdim": True,
    "d_ssm": 32,
    "layer": "Mamba3",
}
REFUSED = [
    *((HF | {key: x}, f"{key} is {json.dumps(x)}; it must be") for key, x in UNSUPPORTED.items()),
    (SSM | {"use_bias": True}, "use_bias is true; it must be"),
    *(
        (SSM | {"ssm_cfg": SSM["ssm_cfg"] | {key: value}}, f"ssm_cfg.{key} is {json.dumps(value)}")
        for key, value in OF_SSM.items()
    ),
    (SSM | {"ssm_cfg": SSM["ssm_cfg"] | {"state_size": 16}}, "ssm_cfg.state_size"),
    (SSM | {"ssm_cfg": ["Mamba2"]}, "ssm_cfg"),
    *((with_limit(HF, limit), "limit") for limit in ("[0.1]", "[0.2, 0.1]", "[NaN, 1]")),
    ({"model_type": "mamba", "d_model": 768, "ssm_cfg": {}}, "Mamba-1"),
    ({"d_model": 768, "n_layer": 24, "ssm_cfg": {}}, "Mamba-1"),
    ({"model_type": "llama", "hidden_size": 64}, "llama"),
    ({"architectures": ["GPT2LMHeadModel"]}, "no model_type"),
    (HF | {"num_heads": 5}, "num_heads 5 × head_dim 16 = 80 must equal expand 2"),
    (HF | {"n_groups": 3}, "ngroups 3 does not divide"),
    (HF | {"hidden_size": "wide"}, "hidden_size"),
    (HF | {"num_hidden_layers": 0}, "num_hidden_layers is 0"),
    (HF | {"vocab_size": 10**12}, "vocab_size"),
    (HF | {"vocab_size": True}, "vocab_size"),
    (HF | {"expand": 1.5}, "expand is 1.5"),
    (HF | {"tie_word_embeddings": 1}, "tie_word_embeddings"),
    (HF | {"layer_norm_epsilon": "small"}, "layer_norm_epsilon"),
    (HF | {"layer_norm_epsilon": 2.0}, "eps"),
    ("[]", "JSON object"),
    ('{"model_type": "mam', "not valid JSON"),
]


@pytest.mark.parametrize(("raw", "named"), REFUSED)
def test_what_is_no_mamba2_that_runs_is_refused_by_name(read, raw, named):
    with pytest.raises(InputError, match=re.escape(named)) as caught:
        read(raw)
    assert "config.json" in str(caught.value)


def test_missing_file(tmp_path):
    with pytest.raises(InputError, match=r"cannot read .*config\.json: No such file"):
        read_config(tmp_path / "config.json")


def test_mamba_ssm_config_with_a_model_type(read):
    """Some uploads add transformers' tag to mamba_ssm's file."""
    assert read(SSM | {"model_type": "mamba2"}) == read(SSM)
