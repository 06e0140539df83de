"""MLP: gated by SiLU, as in Granite, or the square of ReLU without a gate, as in Nemotron-H."""
