"""Mamba2: a state-space mixer with a causal convolution (Dao and Gu, arXiv 2405.21060)."""
