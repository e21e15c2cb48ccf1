"""Use cases that look at faces: detect, compare (1:1), identify (1:N, M:N), liveness of pictures and videos.

Without state, but for the sessions of videos, which are rows of the database.
"""
