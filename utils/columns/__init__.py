"""Which column holds what: found by how the columns look and what they are called, or asked."""
