"""Labelled data, their splits, and the samplers that make batches of them."""
