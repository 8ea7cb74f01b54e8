"""From the training table to an evaluated model: families, tuning, calibration, evaluation."""
