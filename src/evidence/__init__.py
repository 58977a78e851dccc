"""Which sentences a prediction rests on, by several methods, and how far these can be believed."""
