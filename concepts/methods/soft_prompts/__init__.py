"""Concepts as learned vectors in the prompt of a policy whose weights stay as they are."""
