"""The accelerator in Amaranth: one file each block, its arithmetic a numerics object."""
