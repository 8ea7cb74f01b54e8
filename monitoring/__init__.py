"""Monitor what changed since training: sensors, performance, drift, verdicts, alerts."""
