"""Arrays in, faces out: detection, landmarks, alignment, embeddings. Reads no settings and names no provider."""
