"""Random float models of every kind of shape, and the law that a rewrite must obey."""

from collections.abc import Sequence
from dataclasses import replace
from functools import cache, partial
from typing import Any, cast

import numpy as np
import torch
from numpy.typing import NDArray

from lightmamba.blocks import kind
from lightmamba.engine import Engine
from lightmamba.model.causal_lm import CausalLM
from lightmamba.model.checkpoint import ModelWeights
from lightmamba.model.config import ModelConfig
from lightmamba.model.qmodel import QuantizedModel
from lightmamba.numerics.model_formats import Formats
from lightmamba.quantization.passes import Pass
from lightmamba.quantization.work import Floats, Work
from tests.support.builders import sizes, token_ids
from tests.support.checkpoints import float_model, named_parameters

__all__ = [
    "MIXED", "SHAPES", "assert_same_function", "float_logits", "logit_error", "logits_of",
    "rewritten", "wild_model",
]  # fmt: skip

shape = partial(sizes, chunk_size=8)
SHAPES = {
    "tied": shape(d_model=64, headdim=16),
    "192-two-groups": shape(d_model=192, headdim=32, ngroups=2, tie_embeddings=False),
    "80-no-conv-bias": shape(
        d_model=80, headdim=16, ngroups=2, conv_bias=False, tie_embeddings=False
    ),
    "eight-groups": shape(d_model=64, headdim=16, ngroups=8),
    "52-without-hadamard": shape(d_model=52, headdim=8),
    "48-dt-limit": shape(d_model=48, headdim=32, dt_limit=(1e-3, 0.1)),
}
MAMBA = SHAPES["tied"].layers[0]
EXPERTS = {
    "granite": kind("experts").Sizes(6, 2, 64, 2),
    "nemotron": kind("experts").Sizes(5, 3, 40, 1, "relu2", "sigmoid"),
}
MIXED = {
    name: replace(SHAPES["tied"], layers=(MAMBA, experts, MAMBA, experts))
    for name, experts in EXPERTS.items()
}


def wild_model(config: ModelConfig, seed: int = 0, dtype: torch.dtype = torch.float64) -> CausalLM:
    """Random model whose norm weights lie far from 1 and have either sign."""
    model = float_model(config, seed=seed, dtype=torch.float64)
    generator = torch.Generator().manual_seed(seed + 1)
    for name, parameter in named_parameters(model):
        if name.endswith((".norm", "norm_f")):
            spread = torch.randn(parameter.shape, generator=generator, dtype=torch.float64)
            sign = torch.rand(parameter.shape, generator=generator).lt(0.5) * 2.0 - 1.0
            parameter.mul_(spread.exp() * sign)
    return model.to(dtype)


@torch.no_grad()
def rewritten(
    model: CausalLM, passes: Sequence[Pass], ids: NDArray[np.int64], seed: int,
    formats: Formats | None = None,
) -> CausalLM:  # fmt: skip
    """The whole model as the passes of a recipe rewrite it, layer by layer."""
    work = Work(ModelWeights(model), ids, seed, formats or Formats(hadamard=1))
    for step in passes:
        step.begin(work)
    out = CausalLM(model.config).to(work.weights.dtype).requires_grad_(False)
    table = work.turned(model.embedding.weight.detach().clone())
    out.embedding.weight = torch.nn.Parameter(table, requires_grad=False)
    out.lm_head.weight = torch.nn.Parameter(work.head(slice(None)), requires_grad=False)
    out.norm_f.data = work.norm_f()
    u = table[torch.from_numpy(ids)]
    for index in range(model.config.n_layer):
        layer = work.layer(index, passes, Floats.of(u))
        u, _ = layer(u, layer.mixer.empty_cache(len(u)))
        cast(Any, out.layers)[index] = layer
    return out


@torch.no_grad()
def logits_of(model: CausalLM) -> dict[str, torch.Tensor]:
    """Logits on both paths: of chunks, and of half as many single tokens."""
    ids = torch.from_numpy(token_ids(model.config, 2, 21, seed=99))
    caches, steps = None, []
    for token in ids.T[:11]:
        logits, caches = model.step(token, caches)
        steps.append(logits)
    return {"chunked": model(ids)[0], "step": torch.stack(steps, 1)}


def assert_same_function(before: dict[str, torch.Tensor], model: CausalLM, what: str = "") -> None:
    """Hold the law: logits before = logits after to 1e-9 × max(1, max |logit|), on both paths."""
    after = logits_of(model)
    for path, wanted in before.items():
        got = after[path]
        assert got.dtype == torch.float64
        tolerance = 1e-9 * max(1.0, float(wanted.abs().max()))
        worst = float((got - wanted).abs().max())
        assert worst <= tolerance, f"{what} {path}: logits differ by {worst:.2e} > {tolerance:.2e}"


@cache
@torch.no_grad()
def float_logits(config: ModelConfig) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    """Tokens that no calibration saw, and their logits in float32."""
    ids = token_ids(config, 4, 48, seed=9)
    return ids, float_model(config, seed=1)(torch.from_numpy(ids))[0].double().numpy()


def logit_error(config: ModelConfig, model: QuantizedModel) -> float:
    """Squared error of the engine's logits on these tokens, relative to the float ones."""
    ids, wanted = float_logits(config)
    engine = Engine(model)
    got, _ = engine.logits(ids, engine.empty_state(len(ids)))
    return float(((got - wanted) ** 2).sum() / (wanted**2).sum())
