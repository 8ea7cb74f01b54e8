"""Table to a model one can defend: model families, tuning, evaluation."""
