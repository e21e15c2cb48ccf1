"""Person verification: claims of identity, the authority that confirms them, and the operator's own register."""
