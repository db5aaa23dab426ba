"""Many inputs at once: their embeddings on disk, an index to search them, hard negatives among them."""
