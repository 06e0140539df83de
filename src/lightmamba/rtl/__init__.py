"""The accelerator in Amaranth: one file each block, its arithmetic the numerics object it is given."""
