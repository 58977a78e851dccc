"""Servers, clusters and runs made up on this machine, which tests and benchmarks share."""
