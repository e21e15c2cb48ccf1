"""Use cases of the face library: apps, groups, users, faces.

And what goes with it: audit, backup, erasure and disclosure, quotas, failed log-ins, uploads, feedback.
"""
