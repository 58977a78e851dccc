"""Training one classifier: notes to batches, steps, validation, checkpoints, and what a finished run leaves."""
