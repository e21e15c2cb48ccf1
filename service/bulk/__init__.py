"""Many faces at once: enrolling folders and tables, finding doubles, moving a library to another place."""
