"""LLaMA bases, adapters, label schemes, and notes packed without padding."""
