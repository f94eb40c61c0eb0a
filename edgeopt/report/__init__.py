"""Show a study: in a terminal, as JSON, as a page."""
