"""The tool's own benchmarks."""
