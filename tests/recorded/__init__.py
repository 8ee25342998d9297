"""Files that were recorded once, and what records them: no vectors, which others test themselves with."""
