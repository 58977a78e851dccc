"""LLaMA bases, adapters, label schemes and tokenizers; the passes over packed notes are in `engine`."""
