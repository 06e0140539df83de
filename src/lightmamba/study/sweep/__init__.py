"""Many measurements as one table: models × recipes × (texts, tasks and targets).

A plan multiplies out to jobs; a job is data with a key; this process or Ray does the jobs that have
no result yet; results are lines of one file, so that a sweep goes on where it stopped.
"""

from lightmamba.study.sweep.api import Finished, sweep
from lightmamba.study.sweep.plan import Plan, read_plan
from lightmamba.study.sweep.results import is_done, read_results
from lightmamba.study.sweep.sources import Entry
from lightmamba.study.sweep.table import compared, markdown, table_of

__all__ = [
    "Entry", "Finished", "Plan", "compared", "is_done", "markdown", "read_plan",
    "read_results", "sweep", "table_of",
]  # fmt: skip
