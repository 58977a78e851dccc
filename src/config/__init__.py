"""Typed configurations, one noun a file; their values are in `conf/`."""
