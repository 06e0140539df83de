"""Average: every token gets the sum of all values so far, as attention with equal weights."""
