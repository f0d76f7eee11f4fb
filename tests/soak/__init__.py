"""`make soak`: what takes longer than a test suite may."""
