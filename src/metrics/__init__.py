"""Every metric and its interval, from arrays alone; the one definition of each."""
