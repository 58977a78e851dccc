"""Workspaces and reports of a sweep on W&B."""
