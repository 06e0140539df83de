"""The definition of the arithmetic that quantizer, engine and hardware share."""
