"""The commands beside the pipeline itself: `make models`, `make adopt`, and the like."""
