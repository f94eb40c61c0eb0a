"""One file per structural (NAS) change."""
