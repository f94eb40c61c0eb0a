"""Reach a board and measure on it."""
