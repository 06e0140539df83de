"""Search over targets and formats: what lies on the Pareto front."""

from lightmamba.hardware.estimate.objectives import OBJECTIVES, Objective, front
from lightmamba.study.explore.problem import Estimator, Problem, Verdict
from lightmamba.study.explore.scheme import Scheme
from lightmamba.study.explore.space import Candidate, Space

__all__ = [
    "OBJECTIVES", "Candidate", "Estimator", "Objective", "Problem", "Scheme", "Space", "Verdict",
    "front",
]  # fmt: skip
