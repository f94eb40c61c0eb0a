"""One file per rival: `build(model, calibration, output)`, run by the rivals' own Python, at their defaults.

`calibration` is an `.npz`: inputs by name, the first axis counts the samples. Nothing of edgeopt is imported.
"""
