"""Nemotron-H, with experts or without (transformers: ``nemotron_h``): a mixer per layer."""

import math
from collections.abc import Callable
from typing import Any

from lightmamba.blocks import kind
from lightmamba.blocks.layer import Sizes
from lightmamba.model.checkpoint.layouts.experts import ExpertNames, expert_origin
from lightmamba.model.checkpoint.published import Fields, Origin, Part, Published, Unsupported
from lightmamba.model.config import ModelConfig

__all__ = ["read"]

UNSUPPORTED: Unsupported = (
    ("use_bias", (False, None), "biases of in_proj and out_proj"),
    ("mamba_proj_bias", (False, None), "biases of in_proj and out_proj"),
    ("mlp_bias", (False, None), "biases of the MLP"),
    ("attention_bias", (False, None), "biases of attention"),
    ("mamba_hidden_act", ("silu", None), "another activation than SiLU in the Mamba2 layers"),
    ("mlp_hidden_act", ("relu2", None), "another activation than relu2 in the MLP"),
    ("sliding_window", (None,), "a sliding window"),
    ("num_nextn_predict_layers", (0, None), "layers that predict further tokens"),
    ("quantization_config", (None,), "weights that are already quantized"),
)
UNSUPPORTED_EXPERTS: Unsupported = (("moe_latent_size", (None,), "experts of latent channels"),)
LETTERS = {"M": "mamba2", "-": "mlp", "*": "attention", "E": "experts"}
NAMES = {
    "linear_attention": "mamba2", "mamba": "mamba2", "mlp": "mlp", "moe": "experts",
    "full_attention": "attention", "attention": "attention",
}  # fmt: skip


# Earlier names of fields, which count before the present ones, as in transformers.
EARLIER = {
    "mamba_n_groups": "n_groups", "mamba_d_conv": "conv_kernel", "mamba_dt_min": "time_step_min",
    "mamba_conv_bias": "use_conv_bias", "mamba_chunk_size": "chunk_size",
}  # fmt: skip


def read(fields: Fields) -> Published:
    """Sizes, and where each parameter is.

    Raises
    ------
    InputError
        If it names something that is not run here: biases, other activations, experts in groups.
    """
    raw = fields.raw
    raw |= {now: raw[name] for name, now in EARLIER.items() if name in raw}
    fields.refuse(UNSUPPORTED)
    kinds = _kinds(fields)
    d_model = fields.whole("hidden_size", 4096)
    eps = fields.number("layer_norm_epsilon", 1e-5)
    heads, kv = fields.whole("num_attention_heads", 32), "num_key_value_heads"
    attention = kind("attention").Sizes(
        n_heads=heads,
        n_kv_heads=fields.whole(kv, heads if kv in fields.raw else 8),  # null: as many
        head_dim=fields.whole("head_dim", 128),
    )
    sizes: dict[str, Sizes] = {
        "attention": attention,
        "mlp": kind("mlp").Sizes(fields.whole("intermediate_size", 21504), "relu2"),
        "mamba2": kind("mamba2").Sizes(
            nheads=fields.whole("mamba_num_heads", 128),
            headdim=fields.whole("mamba_head_dim", 64),
            d_state=fields.whole("ssm_state_size", 128),
            ngroups=fields.whole("n_groups", 8),
            d_conv=fields.whole("conv_kernel", 4),
            chunk_size=fields.whole("chunk_size", 128),
            conv_bias=fields.flag("use_conv_bias", True),
            eps=eps,
            dt_limit=(fields.number("time_step_min", 0.001), math.inf),
        ),
    }
    if "experts" in kinds:
        sizes["experts"] = _experts(fields)
    tied = fields.flag("tie_word_embeddings", False)
    vocab_size = fields.whole("vocab_size", 131072)
    config = ModelConfig(d_model, vocab_size, tuple(sizes[k] for k in kinds), tied, eps)
    routed = fields.real("routed_scaling_factor", 1.0)
    return Published(config, vocab_size, tied, _origins(config, attention, routed))


def _experts(fields: Fields) -> Sizes:
    """Experts of ReLU², chosen by sigmoids, and blocks that every token takes."""
    fields.refuse(UNSUPPORTED_EXPERTS)
    groups, chosen = fields.whole("n_group", 1), fields.whole("topk_group", 1)
    if groups != chosen:
        raise fields.error(
            "topk_group", f"n_group {groups}, because experts in groups cannot be run here"
        )
    hidden = fields.whole("moe_intermediate_size", 7688)
    shared = fields.whole("moe_shared_expert_intermediate_size", 7688)
    if shared % hidden:
        raise fields.error(
            "moe_shared_expert_intermediate_size", f"a multiple of moe_intermediate_size {hidden}"
        )
    experts, top_k = fields.whole("n_routed_experts", 8), fields.whole("num_experts_per_tok", 2)
    if top_k > experts:
        raise fields.error("num_experts_per_tok", f"at most n_routed_experts {experts}")
    sizes: Sizes = kind("experts").Sizes(
        experts, top_k, hidden, shared // hidden, "relu2", "sigmoid",
        fields.flag("norm_topk_prob", True),
    )  # fmt: skip
    return sizes


def _kinds(fields: Fields) -> list[str]:
    """Kind of each layer."""
    listed = fields.raw.get("layers_block_type") or fields.raw.get("layer_types")
    pattern = fields.raw.get("hybrid_override_pattern")
    key = "layers_block_type" if listed else "hybrid_override_pattern"
    given = listed or pattern
    known = NAMES if listed else LETTERS
    if not isinstance(given, list | str) or not given:
        raise fields.error(key, 'the kind of each layer, like "M-M*-"')
    if any(kind not in known for kind in given):
        raise fields.error(key, f"made of {', '.join(known)}")
    return [known[kind] for kind in given]


def _origins(config: ModelConfig, attention: Any, routed: float) -> Callable[[str], Origin]:
    """Where each parameter is, as a function of its name."""
    query = math.log2(math.e) / math.sqrt(attention.head_dim)
    names = {"mlp": {"in_proj": "up_proj", "out_proj": "down_proj"},
             "attention": {"out_proj": "o_proj"}}  # fmt: skip

    def both(name: str, factor: float = 1.0, rows: int | None = None) -> Part:
        return Part((f"backbone.{name}", f"model.{name}"), factor, rows)

    def origin(own: str) -> Origin:
        if own == "embedding.weight":
            return Origin((both("embeddings.weight"),))
        if own == "norm_f":
            return Origin((both("norm_f.weight"),))
        if own == "lm_head.weight":
            return Origin.of(own)
        _, index, rest = own.split(".", 2)
        kind, at = config.layers[int(index)].kind, f"layers.{index}"
        if rest in ("norm", "mixer.norm"):
            return Origin((both(f"{at}.{rest}.weight"),))
        if kind == "experts":
            mixer, sizes = f"{at}.mixer", config.layers[int(index)]
            return expert_origin(
                rest.removeprefix("mixer."), sizes, config.d_model, _names(mixer), routed=routed
            )
        name, _, last = rest.removeprefix("mixer.").partition(".")
        if kind == "attention" and name == "in_proj":
            return Origin(tuple(
                both(f"{at}.mixer.{n}_proj.weight", query if n == "q" else 1.0,
                     rows.stop - rows.start)
                for n, rows in attention.sections().items()
            ))  # fmt: skip
        published = names.get(kind, {}).get(name, name)
        return Origin((both(f"{at}.mixer.{published}" + (f".{last}" if last else "")),))

    return origin


def _names(at: str) -> ExpertNames:
    """Names of a layer's tensors, which are of three dimensions or one for each expert."""

    def both(name: str) -> tuple[str, ...]:
        return f"backbone.{at}.{name}", f"model.{at}.{name}"

    return ExpertNames(
        router=both("gate.weight"),
        bias=both("gate.e_score_correction_bias"),
        experts_in=both("experts.up_proj"),
        experts_out=both("experts.down_proj"),
        shared_in=both("shared_experts.up_proj.weight"),
        shared_out=both("shared_experts.down_proj.weight"),
        each_in=both("experts.{}.up_proj.weight"),
        each_out=both("experts.{}.down_proj.weight"),
    )
