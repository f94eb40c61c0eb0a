"""Types that every layer shares. Standard library only."""
