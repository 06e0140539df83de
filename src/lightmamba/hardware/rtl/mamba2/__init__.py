"""Mamba2: convolution, discretization, state-space update and gate."""
