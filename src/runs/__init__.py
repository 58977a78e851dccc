"""A run on disk: its folder, identity, record, history, predictions, status and lock."""
