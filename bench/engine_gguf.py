"""Random models in Q4_0 as GGUF files, of the shapes of Mamba2 and Granite-4.0-H, for llama.cpp.

Values are drawn such that activations stay healthy through the layers. The tied head is the Q4_0
embedding, as in ours 4 bits a weight; `llama-quantize` would give it 6.
"""

import math
from pathlib import Path
from typing import Any

import numpy as np
from gguf import GGMLQuantizationType, GGUFWriter, LlamaFileType, quantize
from numpy.typing import NDArray

from lightmamba.common.files import replace_file
from lightmamba.model.config import ModelConfig

__all__ = ["PACKED", "shapes", "write"]

Q4_0 = GGMLQuantizationType.Q4_0
PACKED = {  # matrices that become Q4_0
    "token_embd", "output", "ssm_in", "ssm_out", "attn_q", "attn_k", "attn_v", "attn_output",
    *(f"ffn_{part}{of}" for part in ("gate", "up", "down") for of in ("", "_exps", "_shexp")),
}  # fmt: skip
BACK = {"ssm_out", "attn_output", "ffn_down", "ffn_down_exps", "ffn_down_shexp"}  # to the residual
CONTEXT = 1 << 20  # tokens; what llama.cpp's own converter writes for Mamba2


def shapes(c: ModelConfig) -> dict[str, tuple[int, ...]]:
    """Tensors by llama.cpp's names, rows first; matrices of (rows, channels) become Q4_0."""
    named: dict[str, tuple[int, ...]] = {
        "token_embd.weight": (c.vocab_size, c.d_model),
        "output_norm.weight": (c.d_model,),
    }
    if not c.tie_embeddings:
        named["output.weight"] = (c.vocab_size, c.d_model)
    hybrid = _hybrid(c)
    for i, layer in enumerate(c.layers):
        at = f"blk.{i // (1 + hybrid)}"
        for name, shape in _of_layer(layer, c.d_model).items():
            named[f"{at}.{name}"] = shape
    return named


def _hybrid(c: ModelConfig) -> bool:
    """Whether a block of llama.cpp is a mixer and an MLP, or experts."""
    return not {"mlp", "experts"}.isdisjoint(c.kinds)


def _of_layer(layer: Any, d_model: int) -> dict[str, tuple[int, ...]]:
    """Tensors of one layer of ours."""
    if layer.kind == "mlp":
        return {
            "ffn_norm.weight": (d_model,),
            "ffn_gate.weight": (layer.d_hidden, d_model),
            "ffn_up.weight": (layer.d_hidden, d_model),
            "ffn_down.weight": (d_model, layer.d_hidden),
        }
    if layer.kind == "experts":
        experts, hidden = (layer.n_experts,), layer.d_hidden
        into, back = (hidden, d_model), (d_model, hidden)
        shared = layer.n_shared * hidden
        return {
            "ffn_norm.weight": (d_model,),
            "ffn_gate_inp.weight": (layer.n_experts, d_model),  # in F32, as llama-quantize has it
            "ffn_gate_exps.weight": experts + into,
            "ffn_up_exps.weight": experts + into,
            "ffn_down_exps.weight": experts + back,
            "ffn_gate_shexp.weight": (shared, d_model),
            "ffn_up_shexp.weight": (shared, d_model),
            "ffn_down_shexp.weight": (d_model, shared),
        }
    norm: dict[str, tuple[int, ...]] = {"attn_norm.weight": (d_model,)}
    if layer.kind == "attention":
        parts = {n: (part.stop - part.start, d_model) for n, part in layer.sections().items()}
        rows = {f"attn_{name}.weight": shape for name, shape in parts.items()}
        return norm | rows | {"attn_output.weight": (d_model, layer.out_dim)}
    return norm | {
        "ssm_in.weight": (layer.in_rows, d_model),  # z, x, B, C, dt, as ours
        "ssm_conv1d.weight": (layer.conv_dim, layer.d_conv),
        "ssm_conv1d.bias": (layer.conv_dim,),
        "ssm_dt.bias": (layer.nheads,),
        "ssm_a": (layer.nheads, 1),
        "ssm_d": (layer.nheads, 1),
        "ssm_norm.weight": (layer.ngroups, layer.group_dim),
        "ssm_out.weight": (d_model, layer.d_inner),
    }


def _header(writer: GGUFWriter, c: ModelConfig) -> None:
    """Sizes, as llama.cpp asks for them."""
    found: dict[str, Any] = {layer.kind: layer for layer in c.layers}
    mamba, attention, experts = found["mamba2"], found.get("attention"), found.get("experts")
    behind = found.get("mlp", experts)
    writer.add_context_length(CONTEXT)
    writer.add_embedding_length(c.d_model)
    writer.add_feed_forward_length(behind.d_hidden if behind else 0)
    writer.add_block_count(c.n_layer // (1 + _hybrid(c)))
    if experts:
        writer.add_expert_count(experts.n_experts)
        writer.add_expert_used_count(experts.top_k)
        writer.add_expert_shared_feed_forward_length(experts.n_shared * experts.d_hidden)
    if attention:
        writer.add_head_count(attention.n_heads)
        writer.add_head_count_kv([getattr(layer, "n_kv_heads", 0) for layer in c.layers[::2]])
        writer.add_key_length(attention.head_dim)
        writer.add_value_length(attention.head_dim)
        writer.add_rope_dimension_count(attention.head_dim)
        writer.add_rope_scaling_finetuned(False)  # what llama.cpp calls having no positions
    else:
        writer.add_head_count(0)
    writer.add_ssm_conv_kernel(mamba.d_conv)
    writer.add_ssm_inner_size(mamba.d_inner)
    writer.add_ssm_state_size(mamba.d_state)
    writer.add_ssm_time_step_rank(mamba.nheads)
    writer.add_ssm_group_count(mamba.ngroups)
    writer.add_layer_norm_rms_eps(c.eps)


def write(c: ModelConfig, path: Path, seed: int = 0) -> int:
    """Write a model, tensor by tensor, aside and then renamed; the bytes of the file.

    Parameters
    ----------
    c
        Mamba2 layers with tied embeddings, or those of Granite-4.0-H with or without experts, each
        kind of equal sizes and a convolution with a bias.
    path, seed
        The same seed gives the same file.
    """
    aside = path.with_name(path.name + ".part")
    name = "granitehybrid" if _hybrid(c) else "mamba2"
    writer = GGUFWriter(aside, name, use_temp_file=True)
    _header(writer, c)
    writer.add_file_type(LlamaFileType.MOSTLY_Q4_0)
    writer.add_tokenizer_model("no_vocab")
    writer.add_vocab_size(c.vocab_size)
    for n, (name, shape) in enumerate(shapes(c).items()):
        values = _values(np.random.default_rng([seed, n]), name, shape).astype(np.float32)
        if _part(name) in PACKED:
            writer.add_tensor(name, quantize(values, Q4_0), raw_dtype=Q4_0)
        else:
            writer.add_tensor(name, values)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    replace_file(aside, path)
    return path.stat().st_size


def _part(name: str) -> str:
    """Name of a tensor in its layer, without ``.weight``."""
    return (name.split(".", 2)[-1] if name.startswith("blk.") else name).removesuffix(".weight")


def _values(rng: np.random.Generator, name: str, shape: tuple[int, ...]) -> NDArray[Any]:
    """Values of a tensor; A from -16 to -1/64 and dt from 0.001 to 0.3, as in our models."""
    part = _part(name)
    if part in PACKED:
        values = rng.standard_normal(shape, dtype=np.float32)
        return values * np.float32((0.4 if part in BACK else 1.0) / math.sqrt(shape[-1]))
    if part == "ffn_gate_inp":
        return rng.standard_normal(shape) / math.sqrt(shape[1])
    if part == "ssm_a":
        return -np.exp2(rng.uniform(-6, 4, shape))
    if part == "ssm_dt.bias":
        return np.log(np.expm1(np.exp(rng.uniform(math.log(1e-3), math.log(0.3), shape))))
    if part.startswith("ssm_conv1d"):
        return rng.standard_normal(shape) * (0.2 if part.endswith("bias") else 0.5)
    return 1 + 0.3 * rng.standard_normal(shape)
