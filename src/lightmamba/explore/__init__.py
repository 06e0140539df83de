"""Search over targets and formats: what lies on the Pareto front."""
