"""Virtual boards: the real arm64 runtime under emulation, priced by what it executed."""
