"""The console script ``aipface``: thin commands over the use cases."""
