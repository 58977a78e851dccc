"""What training takes, from the architecture alone: parameters, memory and time."""
