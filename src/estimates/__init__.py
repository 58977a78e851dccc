"""Estimates what training takes from the architecture alone: parameters, operations, memory and time."""
