"""Two-step models and their parts, one room a part."""
