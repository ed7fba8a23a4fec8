"""Protein language models over packed sequences: the models, their attention, their weights and their devices."""
