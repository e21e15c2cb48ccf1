"""Picture in, faces out: the part that recognition and the face library share."""
