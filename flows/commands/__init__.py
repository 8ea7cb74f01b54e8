"""The commands. Those that other flows import too (score, monitor, operate) are in `flows/` itself."""
