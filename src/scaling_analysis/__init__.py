"""Says what a grid of finished runs shows about size, context, rank and compute."""
