"""Web pages for the operator, over the same use cases as the API."""
