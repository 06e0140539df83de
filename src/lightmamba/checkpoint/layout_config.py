"""The config.json of both layouts, as it occurs, to a ModelConfig; the rest is refused by name.

Two libraries write Mamba2 checkpoints: transformers (``hidden_size``, ``num_heads``, ...) and
mamba_ssm (``d_model``, ``ssm_cfg``, ...). A missing key or null means that library's default.
"""

import json
import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lightmamba.checkpoint.files import read_json
from lightmamba.config import ModelConfig, mamba2_config
from lightmamba.errors import InputError

__all__ = ["ConfigFile", "read_config"]

LARGEST = 2**24  # of any size; keeps a lying config from asking for the whole memory
EXAMPLE = "a Mamba2 checkpoint such as state-spaces/mamba2-130m"

# key, the values that are supported, what another value would mean
UNSUPPORTED: tuple[tuple[str, tuple[Any, ...], str], ...] = (
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


@dataclass(frozen=True)
class ConfigFile:
    """What a config.json says."""

    config: ModelConfig
    valid_vocab: int  # ids from here on are padding, as far as the config knows
    special_ids: dict[str, Any]  # bos, eos, pad, as written; nothing by default
    licence: str | None


class _Fields:
    """Typed access to one JSON object; every error names the file and the key."""

    def __init__(self, path: Path, raw: dict[str, Any], prefix: str = "") -> None:
        self.path, self.raw, self.prefix = path, raw, prefix

    def error(self, key: str, must: str) -> InputError:
        found = json.dumps(self.raw.get(key))[:60]
        return InputError(f"{self.path}: {self.prefix}{key} is {found}; it must be {must}")

    def whole(self, key: str, default: int, low: int = 1) -> int:
        value = self.raw.get(key)
        if value is None:
            return default
        if isinstance(value, float) and value.is_integer():
            value = int(value)
        if isinstance(value, bool) or not isinstance(value, int) or not low <= value <= LARGEST:
            raise self.error(key, f"a whole number from {low} to {LARGEST}, like {default}")
        return value

    def flag(self, key: str, default: bool) -> bool:
        value = self.raw.get(key)
        if value is None:
            return default
        if not isinstance(value, bool):
            raise self.error(key, "true or false")
        return value

    def number(self, key: str, default: float) -> float:
        value = self.raw.get(key)
        if value is None:
            return default
        if not isinstance(value, float):
            raise self.error(key, f"a fraction, like {default}")
        return value

    def limits(self, key: str) -> tuple[float, float]:
        """Lower and upper limit of dt; null, or a null upper end, is no limit."""
        value = self.raw.get(key)
        if value is None:
            return 0.0, math.inf
        try:
            low, high = value
            return float(low or 0.0), math.inf if high is None else float(high)
        except (TypeError, ValueError, OverflowError) as error:
            raise self.error(key, "two numbers, like [0.0, 0.1]") from error

    def inner(self, key: str) -> "_Fields":
        value = self.raw.get(key)
        if value is not None and not isinstance(value, dict):
            raise self.error(key, 'an object, like {"layer": "Mamba2"}')
        return _Fields(self.path, value or {}, f"{key}.")

    def refuse_unsupported(self) -> None:
        for key, supported, meaning in UNSUPPORTED:
            value = self.raw.get(key)
            if value not in supported:
                allowed = next(s for s in supported if s is not None or supported == (None,))
                because = f"because {meaning} cannot be run here"
                raise self.error(key, f"{json.dumps(allowed)}, {because}")


def read_config(path: Path) -> ConfigFile:
    """Read a config.json of either layout.

    Parameters
    ----------
    path
        The file; its folder need not hold anything else.

    Raises
    ------
    InputError
        If it is missing or broken, is not of a Mamba2 model, names something that this project
        does not run (attention or MLP layers, biases of the projections, LayerNorm, a norm before
        the gate, another activation, one D per channel), or its sizes contradict each other.
    """
    raw = read_json(path)
    fields = _Fields(path, raw)
    kind = raw.get("model_type")
    mamba_ssm = "d_model" in raw or "ssm_cfg" in raw
    if kind in ("mamba", "falcon_mamba"):
        raise InputError(f'{path}: model_type "{kind}" is Mamba-1; give {EXAMPLE}')
    if kind not in ("mamba2", None) or (kind is None and not mamba_ssm and not _names_mamba2(raw)):
        found = f"model_type {kind!r}" if kind else "no model_type and no d_model"
        raise InputError(f"{path}: {found} is not a Mamba2 model; give {EXAMPLE}")
    fields.refuse_unsupported()
    read = _mamba_ssm if mamba_ssm and "hidden_size" not in raw else _transformers
    licence = raw.get("license")
    try:
        config, valid_vocab = read(fields)
    except InputError:
        raise
    except ValueError as error:  # from the sizes, which does not know the file
        raise InputError(f"{path}: {error}") from error
    ids = {key: raw.get(f"{key}_token_id") for key in ("bos", "eos", "pad")}
    return ConfigFile(config, valid_vocab, ids, licence if isinstance(licence, str) else None)


def _names_mamba2(raw: dict[str, Any]) -> bool:
    return raw.get("architectures") == ["Mamba2ForCausalLM"]


def _transformers(fields: _Fields) -> tuple[ModelConfig, int]:
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


def _mamba_ssm(fields: _Fields) -> tuple[ModelConfig, int]:
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
    ssm.refuse_unsupported()
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
