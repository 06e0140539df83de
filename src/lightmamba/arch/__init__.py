"""The hardware contract as data: the interface of compiler, hardware, runtime and docs."""
