"""Use cases of the face library: apps, groups, users, faces."""
