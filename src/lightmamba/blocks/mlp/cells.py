"""Cells of an MLP's unit, for the area model."""

from lightmamba.arch.cells import Group, one, tokens

__all__ = ["GROUPS"]

GROUPS = (Group("MLP", r"units\.(hidden|unit_rms)", one, copies=tokens),)
