"""Workers of our engine and of the float models that it is compared with.

    python -m bench.engine_ours ours FILE THREADS
    python -m bench.engine_ours transformers:bfloat16 SHAPE THREADS
    python -m bench.engine_ours reference:float32 SHAPE THREADS

The float models have random weights: the time of a step does not depend on them.
"""

import sys
from collections.abc import Callable
from typing import Any

from bench.engine_serve import serve
from lightmamba.common.speed import Fed
from lightmamba.facade import load
from lightmamba.text.greedy import Greedy


class Transformers:
    """transformers' Mamba2ForCausalLM on the CPU: its path without CUDA kernels."""

    def __init__(self, shape: str, kind: str, threads: int) -> None:
        import torch
        from transformers import Mamba2Config, Mamba2ForCausalLM

        from lightmamba.model.config import SHAPES

        torch.set_num_threads(threads)
        torch.manual_seed(0)
        c: Any = SHAPES[shape]
        sizes = c.layers[0]
        config = Mamba2Config(
            num_heads=sizes.nheads, head_dim=sizes.headdim, vocab_size=c.vocab_size,
            hidden_size=c.d_model, state_size=sizes.d_state, num_hidden_layers=c.n_layer,
            expand=sizes.d_inner // c.d_model, conv_kernel=sizes.d_conv, n_groups=sizes.ngroups,
            tie_word_embeddings=c.tie_embeddings,
        )  # fmt: skip
        self.torch = torch
        self.model = Mamba2ForCausalLM(config).to(getattr(torch, kind)).eval()
        self.clear()

    def clear(self) -> None:
        """Begin a sequence."""
        self.cache: Any = None

    def feed(self, ids: list[int]) -> int:
        """Take tokens in one call; logits of the last one only."""
        with self.torch.inference_mode():
            found = self.model(
                self.torch.tensor([ids]), cache=self.cache, use_cache=True, logits_to_keep=1
            )
        self.cache = found.cache
        return int(found.logits[0, -1].argmax())


class Reference:
    """Our float model: chunks for a prompt, the recurrence for a token."""

    def __init__(self, shape: str, kind: str, threads: int) -> None:
        import torch

        from lightmamba.model.causal_lm import CausalLM
        from lightmamba.model.config import SHAPES

        torch.set_num_threads(threads)
        torch.manual_seed(0)
        self.torch = torch
        self.model = CausalLM(SHAPES[shape]).to(getattr(torch, kind)).eval()
        # Of a prompt it would compute all logits; the others compute the last ones only.
        self.model.lm_head.register_forward_pre_hook(lambda _, given: (given[0][..., -1:, :],))
        self.clear()

    def clear(self) -> None:
        """Begin a sequence."""
        self.caches: Any = None

    def feed(self, ids: list[int]) -> int:
        """Take tokens in one call."""
        with self.torch.inference_mode():
            if len(ids) == 1:
                logits, self.caches = self.model.step(self.torch.tensor(ids), self.caches)
            else:
                logits, self.caches = self.model(self.torch.tensor([ids]), self.caches)
        return int(logits.flatten().argmax())


def make(kind: str, name: str, threads: int) -> Fed:
    """A decoder by the words of the command line."""
    engine, _, dtype = kind.partition(":")
    if engine == "ours":
        return Greedy(load(name, threads=threads).engine)
    floats: dict[str, Callable[[str, str, int], Fed]] = {
        "transformers": Transformers,
        "reference": Reference,
    }
    return floats[engine](name, dtype, threads)


if __name__ == "__main__":
    serve(lambda: make(sys.argv[1], sys.argv[2], int(sys.argv[3])))
