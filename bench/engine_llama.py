"""Worker of llama.cpp, by llama-cpp-python's low-level interface.

    python -m bench.engine_llama FILE.gguf THREADS

Runs under a Python that has llama-cpp-python (docs/explanation/cpu-engine.md); nothing of ours is
imported but :mod:`bench.engine_serve` and :mod:`lightmamba.common.speed`.
"""

import ctypes
import sys
from typing import Any

import llama_cpp as llama
import numpy as np

from bench.engine_serve import serve

PROMPT = 1024  # tokens that llama.cpp may be given at once
PIECE = 512  # and that it takes in one piece, as it does by default
ERROR = 4  # GGML_LOG_LEVEL_ERROR, which llama-cpp-python does not name


class Llama:
    """A model and one sequence.

    Parameters
    ----------
    path : str
    threads : int
        For single tokens and for prompts.
    """

    def __init__(self, path: str, threads: int) -> None:
        llama.llama_log_set(LOG, ctypes.c_void_p(0))
        llama.llama_backend_init()
        options = llama.llama_model_default_params()
        options.n_gpu_layers = 0
        model = llama.llama_model_load_from_file(path.encode(), options)
        if not model:
            raise SystemExit(f"llama.cpp cannot load {path}")
        context = llama.llama_context_default_params()
        context.n_ctx = 4 * PROMPT
        context.n_batch, context.n_ubatch = PROMPT, PIECE
        context.n_threads = context.n_threads_batch = threads
        self.context = llama.llama_init_from_model(model, context)
        if not self.context:
            raise SystemExit(f"llama.cpp cannot make a context for {path}")
        self.vocab = llama.llama_vocab_n_tokens(llama.llama_model_get_vocab(model))

    def clear(self) -> None:
        """Forget the sequence, its numbers too."""
        llama.llama_memory_clear(llama.llama_get_memory(self.context), True)

    def feed(self, ids: list[int]) -> int:
        """Take tokens in one batch; logits are computed for the last one only."""
        tokens = (llama.llama_token * len(ids))(*ids)
        status = llama.llama_decode(self.context, llama.llama_batch_get_one(tokens, len(ids)))
        if status:
            raise SystemExit(f"llama_decode ended with status {status}")
        logits = llama.llama_get_logits_ith(self.context, -1)
        return int(np.ctypeslib.as_array(logits, shape=(self.vocab,)).argmax())


def _quiet(level: int, text: bytes, data: Any) -> None:
    """Pass errors on, and nothing else."""
    if level == ERROR:
        sys.stderr.write(text.decode(errors="replace"))


LOG = llama.llama_log_callback(_quiet)  # llama.cpp calls it as long as the process lives

if __name__ == "__main__":
    serve(lambda: Llama(sys.argv[1], int(sys.argv[2])))
