"""What a pass is given: its size and settings, the pictures and masks at that size, and what its picture begins as."""
