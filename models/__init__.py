"""Packs of weights: what they are (manifests), how they come here (fetching) and into shape (converting).

Imports nothing of ``service``; the scripts in :mod:`models.train` are exempt, they fit what is committed in ``heads/``.
"""
