"""Figures of two sets of showers; they see numbers, never a model."""
