"""Search over targets and formats: what lies on the Pareto front."""

from lightmamba.explore.problem import Estimator, Problem, Verdict
from lightmamba.explore.scheme import Scheme
from lightmamba.explore.space import Candidate, Space
from lightmamba.hardware.estimate.objectives import OBJECTIVES, Objective, front

__all__ = [
    "OBJECTIVES", "Candidate", "Estimator", "Objective", "Problem", "Scheme", "Space", "Verdict",
    "front",
]  # fmt: skip
