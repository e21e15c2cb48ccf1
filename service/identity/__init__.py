"""Who somebody says to be: claims, the authority that knows, and the operator's own register."""
