"""What the columns hold: texts, labels, classes and candidates; how they are written, and how they become targets."""
