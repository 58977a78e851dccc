"""What a grid of finished runs says about size, context, rank and compute."""
