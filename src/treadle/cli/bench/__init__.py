"""`qrun bench`: how fast a broker works with Treadle, and how fast without."""
