"""What cohorts and finished runs say together: reports and their pictures."""
