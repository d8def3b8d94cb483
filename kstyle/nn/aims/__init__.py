"""What classifiers are trained for and measured by: losses and metrics by name."""
