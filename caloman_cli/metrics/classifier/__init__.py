"""Classifiers that tell generated showers from real ones."""
