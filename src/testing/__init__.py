"""Makes up servers, clusters and runs on this machine, which tests and benchmarks share."""
