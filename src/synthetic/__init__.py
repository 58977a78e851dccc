"""A synthetic hospital: facts first, the real MS-DRG logic for labels, notes rendered from the facts."""
