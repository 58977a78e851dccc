"""The audit of what W&B wrote of runs, and the sending of what passed it."""
