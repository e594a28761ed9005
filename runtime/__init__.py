"""What makes the actors run."""
