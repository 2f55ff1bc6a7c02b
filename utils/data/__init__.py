"""From a file to rows, columns and targets."""
