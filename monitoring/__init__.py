"""What changed since training, and what to do about it: sensors, performance, verdicts, alerts."""
