"""From files to rows and cells."""
