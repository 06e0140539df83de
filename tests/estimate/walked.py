"""Items that the units of a running model take and give in a pass."""

from collections import Counter
from collections.abc import Mapping

import numpy as np

from lightmamba.arch.steps import HELD, SINGLY, Column
from lightmamba.hardware.estimate.units import Run, Walker, Walkers
from lightmamba.hardware.estimate.workload import Workload


def walkers(work: Workload) -> dict[str, Walker]:
    """Walkers of all layers, by name."""
    run = Run(work.config.n_layer, work.config.vocab_size, 1, (0,))
    return {walker.name: walker for walker in Walkers(work, run).each()}


def moved(items: Column, steps: int = 1) -> int:
    """Items of a column."""
    all_ = np.full(steps, items) if isinstance(items, int) else items.astype(np.int64)
    held = all_ >= HELD
    found = int(np.maximum(all_[~held], 0).sum() + held.sum())
    return found + 2 * int((all_ == SINGLY).sum())


def gone(found: Mapping[str, Walker]) -> tuple[Counter[str], Counter[str]]:
    """Items of each stream that units take and give in all jobs of a pass.

    What is between them and memory has a job for each command instead.
    """
    taken, given = Counter[str](), Counter[str]()
    for walker in found.values():
        if walker.name.startswith(("read_", "unpack_", "pack_", "write_")):
            continue
        for job in walker.jobs:
            for name, items in job.takes.items():
                taken[name] += moved(items, job.steps)
            for name, items in job.gives.items():
                given[name] += moved(items, job.steps)
    return taken, given
