"""Studies of models and machines: searches, sweeps, reports and pictures."""
