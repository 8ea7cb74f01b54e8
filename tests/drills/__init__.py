"""Drills: what goes wrong in earnest, done on purpose. Not part of `make test`."""
