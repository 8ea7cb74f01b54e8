"""The commands; those that other flows import too (score, monitor, operate) are in `flows/`."""
