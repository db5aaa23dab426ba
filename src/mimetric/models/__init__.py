"""Encoders: modules from inputs to embeddings, one idea a file.  `names` loads no torch."""
