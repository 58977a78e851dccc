"""What a command needs around its work: overrides, errors, progress, files that are whole or absent."""
