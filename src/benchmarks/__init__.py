"""Measures performance claims side by side in one run."""
