"""Whose energy it is: when a meter is read, how its clock is laid on the board's, and what a model drew."""
