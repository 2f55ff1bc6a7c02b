"""From predictions to numbers: metrics, thresholds, and how far to trust them."""
