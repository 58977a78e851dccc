"""Weights & Biases: one policy, a guard against protected text, and the logger."""
