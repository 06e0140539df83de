"""Attention: grouped queries, no positional encoding, keys and values of every token kept."""
