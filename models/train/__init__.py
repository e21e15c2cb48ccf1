"""Scripts that fit what is committed in ``heads/``; exempt from the import direction, never run by the product."""
