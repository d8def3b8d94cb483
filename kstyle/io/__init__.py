"""Files, folders, pipes and processes: whole or not at all. No framework is needed."""
