"""Boards as devices: through XRT, UIO, a serial line; and the self-test for first light."""
