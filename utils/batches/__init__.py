"""Batches: their order, how they are cut, and how much goes through the model."""
