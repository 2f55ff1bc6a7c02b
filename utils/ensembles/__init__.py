"""Several models as one: cross-validation by folds, and blends of finished runs."""
