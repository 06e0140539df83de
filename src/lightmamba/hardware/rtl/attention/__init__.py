"""Attention: queries against pages of keys and values, which memory brings."""
