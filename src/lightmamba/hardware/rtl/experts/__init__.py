"""Experts: the choice of a token's blocks, and the weight of each of them."""
