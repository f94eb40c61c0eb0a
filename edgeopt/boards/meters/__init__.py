"""One file per power meter."""
