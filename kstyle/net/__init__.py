"""The network: one file, resumed, retried, checked."""
