"""Builds and saves workspaces and reports of a sweep on W&B."""
