"""From texts to tokens and batches: their order, how they are cut, and how much goes through the model."""
