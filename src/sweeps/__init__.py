"""Grids of runs that survive their machines: cells, locks, launchers, and what they leave to read."""
