"""`qrun demo`: a small fleet at work, one of its workers killed, and every job accounted for."""
