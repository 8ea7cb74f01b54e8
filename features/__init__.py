"""Rows to one row per customer and as-of date: SQL, the engine that runs it, labels, splits."""
