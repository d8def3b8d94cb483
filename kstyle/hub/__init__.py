"""Runs and style networks to and from the Hugging Face Hub."""
