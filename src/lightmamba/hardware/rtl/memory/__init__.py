"""The side of the memory: readers and writers of its clients, their addresses, ports."""
