"""Arrays in, faces out: detection, landmarks, alignment, embeddings. Reads no settings.

Models name no provider; ``providers``, ``runtimes`` and the sessions do.
"""
