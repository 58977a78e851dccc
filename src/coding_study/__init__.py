"""A study of coders with and without proposals: who reads what, what so many coders can show, and what came out."""
