"""All trials of one model on one board, on disk."""
