"""The trainer, and what makes a training exact, fast and safe to leave alone."""
