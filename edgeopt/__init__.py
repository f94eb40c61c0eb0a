"""edgeopt: make neural networks fast, small and cool on Raspberry-Pi-class ARM boards."""

__version__ = "0.1.0"
