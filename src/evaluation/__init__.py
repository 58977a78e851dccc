"""Metrics, predictions, records, tables and pictures of finished runs."""
