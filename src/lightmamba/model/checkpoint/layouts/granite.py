"""Granite-4.0-H (transformers: ``granitemoehybrid``).

Each decoder layer is a Mamba2 or an attention mixer, then an MLP or experts: two of our layers. Its
multipliers are factors of weights: residual_multiplier of what is added to the stream,
embedding_multiplier of the embedding, 1 / logits_scaling of the head, and attention_multiplier
times log2 e of the queries.
"""

import math
from typing import Any

from lightmamba.blocks import kind
from lightmamba.blocks.layer import Sizes
from lightmamba.common.errors import InputError
from lightmamba.model.checkpoint.layouts.experts import ExpertNames, expert_origin
from lightmamba.model.checkpoint.published import Fields, Origin, Part, Published, Unsupported
from lightmamba.model.config import ModelConfig

__all__ = ["config_json", "read"]

UNSUPPORTED: Unsupported = (
    ("position_embedding_type", ("nope", None), "rotary positions"),
    ("attention_bias", (False, None), "biases of attention"),
    ("mamba_proj_bias", (False, None), "biases of in_proj and out_proj"),
    ("hidden_act", ("silu", "swish", None), "another activation than SiLU"),
    ("sliding_window", (None,), "a sliding window"),
    ("mamba_n_groups", (1, None), "a gated norm over several groups of B and C"),
    ("quantization_config", (None,), "weights that are already quantized"),
)
MOST = 2048  # decoder layers
MAMBA, ATTENTION = ("mamba", "linear_attention"), ("attention", "full_attention")


def read(fields: Fields) -> Published:
    """Sizes, and where each parameter is.

    Raises
    ------
    InputError
        If it names something that is not run here: rotary positions, biases.
    """
    fields.refuse(UNSUPPORTED)
    d_model = fields.whole("hidden_size", 4096)
    eps = fields.number("rms_norm_eps", 1e-6)
    nheads, headdim = fields.whole("mamba_n_heads", 128), _head_dim(fields, d_model)
    mamba = kind("mamba2").Sizes(
        nheads=nheads,
        headdim=headdim,
        d_state=fields.whole("mamba_d_state", 256),
        d_conv=fields.whole("mamba_d_conv", 4),
        chunk_size=fields.whole("mamba_chunk_size", 256),
        conv_bias=fields.flag("mamba_conv_bias", True),
        eps=eps,
        dt_limit=fields.limits("time_step_limit"),
    )
    heads = fields.whole("num_attention_heads", 32)
    attention = kind("attention").Sizes(
        n_heads=heads,
        n_kv_heads=fields.whole("num_key_value_heads", heads),
        head_dim=fields.whole("head_dim", max(1, d_model // heads)),
    )
    mlp = _after_mixer(fields)
    layers: list[Sizes] = []
    for name in _layer_types(fields):
        layers += [mamba if name in MAMBA else attention, mlp]
    scale = {
        name: fields.real(name, 1.0)
        for name in ("embedding_multiplier", "residual_multiplier", "attention_multiplier",
                     "logits_scaling")
    }  # fmt: skip
    tied = fields.flag("tie_word_embeddings", False)
    plain = scale["embedding_multiplier"] == scale["logits_scaling"] == 1.0
    vocab_size = fields.whole("vocab_size", 32000)
    config = ModelConfig(d_model, vocab_size, tuple(layers), tied and plain, eps)
    return Published(config, vocab_size, tied, _origins(config, attention, scale, tied))


def _after_mixer(fields: Fields) -> Sizes:
    """Layer behind every mixer: an MLP, or experts and blocks that every token takes."""
    shared = fields.whole("shared_intermediate_size", 1024)
    experts = fields.whole("num_local_experts", 8, low=0)
    if not experts:
        mlp: Sizes = kind("mlp").Sizes(shared)
        return mlp
    hidden = fields.whole("intermediate_size", 8192)
    if shared % hidden:
        raise fields.error("shared_intermediate_size", f"a multiple of intermediate_size {hidden}")
    top_k = fields.whole("num_experts_per_tok", 2)
    if top_k > experts:
        raise fields.error("num_experts_per_tok", f"at most num_local_experts {experts}")
    found: Sizes = kind("experts").Sizes(experts, top_k, hidden, shared // hidden)
    return found


def _head_dim(fields: Fields, d_model: int) -> int:
    """Channels of a Mamba2 head; "auto" divides d_inner among the heads."""
    heads, inner = fields.whole("mamba_n_heads", 128), fields.whole("mamba_expand", 2) * d_model
    if fields.raw.get("mamba_d_head") in ("auto", None):
        return max(1, inner // heads)
    dim = fields.whole("mamba_d_head", 64)
    if dim * heads != inner:
        raise InputError(
            f"{fields.path}: mamba_n_heads {heads} × mamba_d_head {dim} = {heads * dim} must equal "
            f"mamba_expand × hidden_size = {inner}"
        )
    return dim


def _layer_types(fields: Fields) -> list[str]:
    """Kinds of the decoder layers."""
    kinds = fields.raw.get("layer_types") or fields.raw.get("layers_block_type")
    count = fields.whole("num_hidden_layers", 32)
    if count > MOST:
        raise fields.error("num_hidden_layers", f"at most {MOST}")
    if kinds is None:
        return ["mamba"] * count
    known = (*MAMBA, *ATTENTION)
    if not isinstance(kinds, list) or len(kinds) != count or any(k not in known for k in kinds):
        raise fields.error("layer_types", f'a list of {count} entries, "mamba" or "attention"')
    return kinds


def _origins(config: ModelConfig, attention: Any, scale: dict[str, float], tied: bool) -> Any:
    """Where each parameter is, as a function of its name."""
    added = scale["residual_multiplier"]
    query = scale["attention_multiplier"] * math.log2(math.e)

    def origin(own: str) -> Origin:
        if own == "embedding.weight":
            return Origin.of("model.embed_tokens.weight", factor=scale["embedding_multiplier"])
        if own == "norm_f":
            return Origin.of("model.norm.weight")
        if own == "lm_head.weight":
            names = ("lm_head.weight", *(["model.embed_tokens.weight"] if tied else []))
            return Origin.of(*names, factor=1 / scale["logits_scaling"])
        _, index, rest = own.split(".", 2)
        kind, at = config.layers[int(index)].kind, f"model.layers.{int(index) // 2}"
        if rest == "norm":
            behind = kind in ("mlp", "experts")
            which = "post_attention_layernorm" if behind else "input_layernorm"
            return Origin.of(f"{at}.{which}.weight")
        name = rest.removeprefix("mixer.")
        if kind == "mlp":
            which, factor = (
                ("input_linear", 1.0) if name == "in_proj.weight" else ("output_linear", added)
            )
            return Origin.of(f"{at}.shared_mlp.{which}.weight", factor=factor)
        if kind == "experts":
            sizes = config.layers[int(index)]
            return expert_origin(name, sizes, config.d_model, _experts(at), factor=added)
        if kind == "attention":
            if name == "out_proj.weight":
                return Origin.of(f"{at}.self_attn.o_proj.weight", factor=added)
            return Origin(tuple(
                Part((f"{at}.self_attn.{n}_proj.weight",), query if n == "q" else 1.0,
                     rows.stop - rows.start)
                for n, rows in attention.sections().items()
            ))  # fmt: skip
        published = "norm.weight" if name == "norm" else name
        factor = added if name == "out_proj.weight" else 1.0
        return Origin.of(f"{at}.mamba.{published}", factor=factor)

    return origin


def _experts(at: str) -> ExpertNames:
    """Names in the files, and those of the module in memory."""
    moe, shared = f"{at}.block_sparse_moe", f"{at}.shared_mlp"
    return ExpertNames(
        router=(f"{moe}.router.layer.weight", f"{moe}.router.weight"),
        bias=(),
        experts_in=(f"{moe}.input_linear.weight", f"{moe}.experts.gate_up_proj"),
        experts_out=(f"{moe}.output_linear.weight", f"{moe}.experts.down_proj"),
        shared_in=(f"{shared}.input_linear.weight",),
        shared_out=(f"{shared}.output_linear.weight",),
    )


def config_json(config: ModelConfig) -> dict[str, Any]:
    """Sizes of a model as transformers writes them, with every multiplier one.

    Raises
    ------
    InputError
        If it is no sequence of Mamba2 or attention layers of equal sizes, each with a gated MLP
        behind it, or each with experts.
    """
    mixers, behind = config.layers[::2], config.layers[1::2]
    found: dict[str, Any] = {layer.kind: layer for layer in config.layers}
    equal = all(found[layer.kind] == layer for layer in config.layers)
    turns = len(mixers) == len(behind) and {layer.kind for layer in behind} <= {"mlp", "experts"}
    if not (equal and turns and len(found) == 3 and set(found) > {"mamba2", "attention"}):
        raise InputError(
            "a model can be saved in transformers' layout, if all its layers are Mamba2, or if "
            "Mamba2 and attention layers have an MLP after each of them, or experts"
        )
    mamba, attention = found["mamba2"], found["attention"]
    last: Any = behind[0]
    if mamba.ngroups != 1 or not last.gated or (last.routed and last.scoring != "softmax"):
        raise InputError(
            "Granite's layout has one group of B and C, gated MLPs, and experts by a softmax"
        )
    low, high = mamba.dt_limit
    names = {"mamba2": "mamba", "attention": "attention"}
    return {
        "architectures": ["GraniteMoeHybridForCausalLM"],
        "model_type": "granitemoehybrid",
        "vocab_size": config.vocab_size,
        "hidden_size": config.d_model,
        "num_hidden_layers": len(mixers),
        "layer_types": [names[layer.kind] for layer in mixers],
        "mamba_n_heads": mamba.nheads,
        "mamba_d_head": mamba.headdim,
        "mamba_d_state": mamba.d_state,
        "mamba_n_groups": 1,
        "mamba_expand": mamba.d_inner // config.d_model,
        "mamba_d_conv": mamba.d_conv,
        "mamba_chunk_size": mamba.chunk_size,
        "mamba_conv_bias": mamba.conv_bias,
        "mamba_proj_bias": False,
        "time_step_limit": [low, {"__float__": "Infinity"} if math.isinf(high) else high],
        "num_attention_heads": attention.n_heads,
        "num_key_value_heads": attention.n_kv_heads,
        "head_dim": attention.head_dim,
        "attention_bias": False,
        "attention_multiplier": 1 / math.sqrt(attention.head_dim),
        "position_embedding_type": "nope",
        **_widths(last),
        "embedding_multiplier": 1.0,
        "residual_multiplier": 1.0,
        "logits_scaling": 1.0,
        "hidden_act": "silu",
        "rms_norm_eps": config.eps,
        "tie_word_embeddings": config.tie_embeddings,
    }


def _widths(behind: Any) -> dict[str, int]:
    """Sizes of the layer behind every mixer, an MLP or experts."""
    routed = behind.routed
    return {
        "shared_intermediate_size": behind.d_hidden * (behind.n_shared if routed else 1),
        "intermediate_size": behind.d_hidden,
        "num_local_experts": behind.n_experts if routed else 0,
        "num_experts_per_tok": behind.top_k if routed else 0,
    }
