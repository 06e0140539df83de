"""How much memory a job takes, so that no more of them run at once than there is room for."""

import math
from typing import Any

from lightmamba.blocks import kind
from lightmamba.evaluate.model import LOGITS_HELD, SEQUENCES, VECTORS, together
from lightmamba.model.checkpoint.chosen import expected
from lightmamba.quantization.plan import PROCESS, Plan
from lightmamba.study.sweep.job import Job, Machine, Text

__all__ = ["memory_of"]

FLOAT = 4  # bytes of a float32


def memory_of(job: Job, threads: int) -> int:
    """Approximate bytes of a process that does a job on a number of threads.

    Of a file that is being made, what its quantizer plans; of an evaluation, the models that it
    reads with, the states of the sequences that they read together, and the logits.
    """
    if isinstance(job.measure, Machine):
        return PROCESS
    if job.measure is None:
        # Without a tokenizer calibration is sampled from the whole float model.
        sampled = 0 if "tokenizer.json" in dict(job.model.hashes) else PROCESS + _weights(job)
        return max(_plan(job, threads).memory, sampled)
    floats = job.recipe is None or (isinstance(job.measure, Text) and job.measure.against)
    need = PROCESS + 2 * FLOAT * min(LOGITS_HELD, VECTORS * job.model.config.vocab_size)
    if floats:
        need += _weights(job) + _state(job, FLOAT) + _pass(job)
    if job.recipe is not None:
        wide = 1 if job.recipe.formats.state_bits == 8 else 2
        need += _plan(job, threads).disk["parts"] + _state(job, wide) + _pass(job)
    return need


def _plan(job: Job, threads: int) -> Plan:
    assert job.recipe is not None
    assert job.learning is not None
    shape = job.learning.sequences, job.learning.seqlen
    return Plan.of(job.model.config, job.recipe, shape, threads, in_memory=False)


def _weights(job: Job) -> int:
    """The float model."""
    return FLOAT * sum(math.prod(shape) for _, shape in expected(job.model.config))


def _state(job: Job, size: int) -> int:
    """Bytes of the states of sequences that are read together, before and after a piece."""
    c = job.model.config
    sequences = 3 * SEQUENCES  # contexts, and continuations that take their state
    if isinstance(job.measure, Text):
        sequences = 2 * together(job.measure.window)
    return sequences * sum(_state_values(k) for k in c.layers) * size


def _pass(job: Job) -> int:
    """Bytes of the activations of one call, between layers and within one."""
    c = job.model.config
    widest = max(8 * (k.in_rows + k.out_dim) + 4 * _chunk(k) for k in c.layers)
    return FLOAT * VECTORS * widest


def _state_values(sizes: Any) -> int:
    """Values that a sequence leaves behind in a float layer."""
    return kind(sizes.kind).integers.float_values(sizes)


def _chunk(sizes: Any) -> int:
    """Values per vector of the widest intermediate of a float layer, except its projections'."""
    return kind(sizes.kind).integers.float_chunk(sizes, VECTORS)
