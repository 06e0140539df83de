"""The hardware contract as data: interface of compiler, hardware, host driver and docs."""
