"""What is minimised: whole or by tiles, and what it is to reach."""
