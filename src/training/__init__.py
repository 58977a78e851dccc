"""Training one classifier: notes to batches, steps, checkpoints."""
