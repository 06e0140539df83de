"""Quantize Mamba2 to 4 bits and run it in exact integers, as the gates will."""
