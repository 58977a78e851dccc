"""W&B: what may be sent, and a run's record there."""
