"""Conformance suites: a new plugin is tested by being there."""
