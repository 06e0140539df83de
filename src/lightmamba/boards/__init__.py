"""Boards as devices: through XRT, through UIO; and the self-test for first light."""
