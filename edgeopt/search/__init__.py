"""Propose candidates."""
