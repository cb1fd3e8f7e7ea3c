"""`qrun new`: packages that install, register themselves and pass their own tests as written."""
