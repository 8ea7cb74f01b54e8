"""What changed since training: drift and delayed labels. Not built yet; its walls are."""
