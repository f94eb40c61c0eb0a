"""Run and profile a model."""
