"""One typed settings model, the presets that fill it, and what every command does the same way."""
