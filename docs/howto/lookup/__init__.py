"""Lookup: every token gets one row of a table, which its scores choose."""
