"""What trains, what validates and what is predicted: which rows take part, and how they are divided."""
