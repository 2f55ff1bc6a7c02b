"""From files to rows, cells and splits."""
