"""What a run measures, decides, prints and writes."""
