"""Of one finished run and of several on one test set: error tables, slices, calibration, cost, comparison, prefixes."""
