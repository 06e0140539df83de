"""Devices that run a build: the host's driver, simulators, boards and packages for boards."""
