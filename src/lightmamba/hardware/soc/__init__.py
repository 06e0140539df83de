"""RTL around the accelerator on a board without a shell: memory, serial line, clocks, pins."""
