"""Use cases without state: detect, compare (1:1), identify (1:N, M:N)."""
