"""What finished runs say of notes that are of no cohort: models opened from their folders alone."""
