"""Hyperparameter search: what is varied, where trials are kept, how one is run."""
