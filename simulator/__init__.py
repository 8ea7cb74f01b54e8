"""The simulated retailer: a log with known truth, and the best score anyone could reach on it."""
