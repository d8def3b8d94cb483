"""Pictures on their way from a file to a batch: opened, cut out, divided, in order."""
