"""RTL around the accelerator on a board without a vendor's shell: memory controller, serial bridge, clocks, pins."""
