"""Memory that a job takes, so that Ray starts no more of them at once than there is room for."""

import math

from lightmamba.blocks import kind
from lightmamba.evaluate.model import LOGITS_HELD, SEQUENCES, VECTORS, together
from lightmamba.model.checkpoint.chosen import expected
from lightmamba.quantization.plan import PROCESS, Plan, sampling_memory
from lightmamba.study.sweep.job import Job, Machine, Text

__all__ = ["memory_of"]

FLOAT = 4  # bytes of a float32


def memory_of(job: Job, threads: int) -> int:
    """Approximate bytes of a process that does a job on a number of threads.

    A job that makes a file takes what its quantizer plans. An evaluation takes the models that it
    reads with, the states of the sequences that they read together, activations, and logits.
    """
    if isinstance(job.measure, Machine):
        return PROCESS
    config = job.model.config
    weights = FLOAT * sum(math.prod(shape) for _, shape in expected(config))
    file = None
    if job.recipe is not None and job.learning is not None:
        shape = job.learning.sequences, job.learning.seqlen
        file = Plan.of(config, job.recipe, shape)
    if job.measure is None:
        assert file is not None
        # Without a tokenizer calibration is sampled from the whole float model.
        sampled = "tokenizer.json" not in dict(job.model.hashes)
        return max(file.memory, sampling_memory(config, *shape) if sampled else 0)
    against = isinstance(job.measure, Text) and job.measure.against
    sequences = 3 * SEQUENCES  # contexts, and continuations that take their state
    if isinstance(job.measure, Text):
        sequences = 2 * together(job.measure.window)  # before and after a piece
    layers = [(sizes, kind(sizes.kind).integers) for sizes in config.layers]
    values = sequences * sum(integers.float_values(sizes) for sizes, integers in layers)
    widest = max(
        8 * (sizes.in_rows + sizes.out_dim) + 4 * integers.float_chunk(sizes, VECTORS)
        for sizes, integers in layers
    )
    call = FLOAT * VECTORS * widest  # activations, between layers and within one
    need = PROCESS + 2 * FLOAT * min(LOGITS_HELD, VECTORS * config.vocab_size)
    if job.recipe is None or against:
        need += weights + FLOAT * values + call
    if job.recipe is not None and file is not None:
        wide = 1 if job.recipe.formats.state_bits == 8 else 2
        need += file.disk["parts"] + wide * values + call
    return need
