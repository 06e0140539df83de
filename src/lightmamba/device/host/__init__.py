"""The host's driver of an accelerator, on a board or simulated."""
