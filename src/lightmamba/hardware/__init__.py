"""The accelerator: its description as data, compiler, RTL, synthesis and performance model."""
