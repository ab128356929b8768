"""What the terminal shows: the only users of rich."""
