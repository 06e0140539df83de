"""The hardware contract: what compiler, gates, runtime and docs all agree on, as data."""
