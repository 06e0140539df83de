"""Mamba2 as two libraries write it.

transformers says ``hidden_size``, ``num_heads``, ...; mamba_ssm ``d_model``, ``ssm_cfg``, .... A
missing key or null means that library's default. Both give the tensors the same names.
"""

import math
from typing import Any

from lightmamba.common.errors import InputError
from lightmamba.model.checkpoint.published import Fields, Origin, Published, Unsupported
from lightmamba.model.config import ModelConfig, mamba2_config

__all__ = ["config_json", "is_mamba_ssm", "names_mamba2", "origin", "read"]

UNSUPPORTED: Unsupported = (
    ("use_bias", (None, False), "biases of in_proj and out_proj"),
    ("bias", (None, False), "biases of in_proj and out_proj"),
    ("hidden_act", ("silu", "swish", None), "another activation than SiLU"),
    ("attn_layer_idx", ([], None), "attention layers"),
    ("d_intermediate", (0, None), "MLP layers"),
    ("rms_norm", (True, None), "LayerNorm"),
    ("rmsnorm", (True, None), "a mixer without its gated norm"),
    ("norm_before_gate", (False, None), "a norm before the gate"),
    ("D_has_hdim", (False, None), "a D per channel instead of per head"),
    ("quantization_config", (None,), "weights that are already quantized"),
)

# What mamba_ssm's Mamba2 takes; those without a use here only steer training.
SSM_KEYS = {
    *("layer", "d_state", "d_conv", "expand", "headdim", "d_ssm", "ngroups", "chunk_size"),
    *("dt_limit", "bias", "conv_bias", "D_has_hdim", "rmsnorm", "norm_before_gate"),
    *("dt_min", "dt_max", "dt_init_floor", "A_init_range", "conv_init"),
    *("use_mem_eff_path", "sequence_parallel"),
}


def is_mamba_ssm(raw: dict[str, Any]) -> bool:
    """Tell whether a config.json has the keys of mamba_ssm."""
    return "d_model" in raw or "ssm_cfg" in raw


def names_mamba2(raw: dict[str, Any]) -> bool:
    """Tell whether a config.json without ``model_type`` is of a Mamba2 model all the same."""
    return is_mamba_ssm(raw) or raw.get("architectures") == ["Mamba2ForCausalLM"]


def read(fields: Fields) -> Published:
    """Sizes, and where each parameter is.

    Raises
    ------
    InputError
        If it names something that is not run here (biases of the projections, LayerNorm, a norm
        before the gate, another activation, one D per channel).
    """
    fields.refuse(UNSUPPORTED)
    mamba_ssm = is_mamba_ssm(fields.raw) and "hidden_size" not in fields.raw
    config, valid_vocab = (_mamba_ssm if mamba_ssm else _transformers)(fields)
    return Published(config, valid_vocab, config.tie_embeddings, origin)


def origin(own: str) -> Origin:
    """Names of our parameter in a checkpoint: transformers' first, then others that occur."""
    if own == "lm_head.weight":
        return Origin.of(own)
    if own == "embedding.weight":
        return Origin.of("backbone.embeddings.weight", "backbone.embedding.weight")
    if own.rpartition(".")[2] in ("norm", "norm_f"):
        return Origin.of(f"backbone.{own}.weight")
    return Origin.of(f"backbone.{own}")


def _transformers(fields: Fields) -> tuple[ModelConfig, int]:
    hidden_size = fields.whole("hidden_size", 4096)
    expand = fields.whole("expand", 2)
    num_heads = fields.whole("num_heads", 128)
    head_dim = fields.whole("head_dim", 64)
    if num_heads * head_dim != expand * hidden_size:
        raise InputError(
            f"{fields.path}: num_heads {num_heads} × head_dim {head_dim} = {num_heads * head_dim} "
            f"must equal expand {expand} × hidden_size {hidden_size} = {expand * hidden_size}"
        )
    vocab_size = fields.whole("vocab_size", 32768)
    config = mamba2_config(
        d_model=hidden_size,
        n_layer=fields.whole("num_hidden_layers", 64),
        vocab_size=vocab_size,
        d_state=fields.whole("state_size", 128),
        headdim=head_dim,
        ngroups=fields.whole("n_groups", 8),
        expand=expand,
        d_conv=fields.whole("conv_kernel", 4),
        chunk_size=fields.whole("chunk_size", 256),
        conv_bias=fields.flag("use_conv_bias", True),
        tie_embeddings=fields.flag("tie_word_embeddings", False),
        eps=fields.number("layer_norm_epsilon", 1e-5),
        dt_limit=fields.limits("time_step_limit"),
    )
    return config, vocab_size


def _mamba_ssm(fields: Fields) -> tuple[ModelConfig, int]:
    ssm = fields.inner("ssm_cfg")
    layer = ssm.raw.get("layer")
    if layer in ("Mamba1", None):  # mamba_ssm builds Mamba-1 where no layer is named
        raise InputError(
            f"{fields.path}: ssm_cfg.layer is {layer!r}, which is Mamba-1; "
            'a Mamba2 checkpoint has "ssm_cfg": {"layer": "Mamba2"}'
        )
    if layer != "Mamba2":
        raise ssm.error("layer", '"Mamba2"')
    unknown = sorted(ssm.raw.keys() - SSM_KEYS)
    if unknown:
        raise InputError(
            f"{fields.path}: ssm_cfg.{unknown[0]} is not a parameter of mamba_ssm's Mamba2; "
            "remove it, or rename it to one such as d_state"
        )
    ssm.refuse(UNSUPPORTED)
    d_model = fields.whole("d_model", 2560)
    expand = ssm.whole("expand", 2)
    if ssm.whole("d_ssm", expand * d_model) != expand * d_model:
        raise ssm.error("d_ssm", f"{expand * d_model} or null, because MLP channels cannot be run")
    vocab_size = fields.whole("vocab_size", 50277)
    multiple = fields.whole("pad_vocab_size_multiple", 8)
    config = mamba2_config(
        d_model=d_model,
        n_layer=fields.whole("n_layer", 64),
        vocab_size=-(-vocab_size // multiple) * multiple,
        d_state=ssm.whole("d_state", 128),
        headdim=ssm.whole("headdim", 64),
        ngroups=ssm.whole("ngroups", 1),
        expand=expand,
        d_conv=ssm.whole("d_conv", 4),
        chunk_size=ssm.whole("chunk_size", 256),
        conv_bias=ssm.flag("conv_bias", True),
        tie_embeddings=fields.flag("tie_embeddings", True),
        dt_limit=ssm.limits("dt_limit"),
    )
    return config, vocab_size


def config_json(config: ModelConfig) -> dict[str, Any]:
    """Sizes of a model of equal Mamba2 layers as transformers writes them.

    Raises
    ------
    InputError
        If its layers differ, or some are of another kind.
    """
    layer: Any = config.layers[0]
    if config.kinds != ("mamba2",) or len(set(config.layers)) > 1:
        raise InputError("only models of equal Mamba2 layers can be saved in transformers' layout")
    fields: dict[str, Any] = {
        "architectures": ["Mamba2ForCausalLM"],
        "model_type": "mamba2",
        "vocab_size": config.vocab_size,
        "hidden_size": config.d_model,
        "num_hidden_layers": config.n_layer,
        "num_heads": layer.nheads,
        "head_dim": layer.headdim,
        "state_size": layer.d_state,
        "n_groups": layer.ngroups,
        "expand": layer.d_inner // config.d_model,
        "conv_kernel": layer.d_conv,
        "chunk_size": layer.chunk_size,
        "use_bias": False,
        "use_conv_bias": layer.conv_bias,
        "hidden_act": "silu",
        "layer_norm_epsilon": config.eps,
        "tie_word_embeddings": config.tie_embeddings,
    }
    low, high = layer.dt_limit
    if layer.dt_limit != (0.0, math.inf):  # the default needs no word, and JSON has none for it
        upper = {"__float__": "Infinity"} if math.isinf(high) else high
        fields["time_step_limit"] = [low, upper]
    return fields
