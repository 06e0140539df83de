"""The arithmetic, said once: what the quantizer, the engine and the gates take."""
