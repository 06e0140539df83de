"""A model: sizes, float layers and checkpoints, the quantized file, tokenizer and texts."""
