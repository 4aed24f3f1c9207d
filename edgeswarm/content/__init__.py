"""What an artifact is made of: digests, chunks, manifests, trees, encoded pieces, delta units, indexes and plans. Pure."""
