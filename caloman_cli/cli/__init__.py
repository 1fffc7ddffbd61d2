"""From argv to one verb."""
