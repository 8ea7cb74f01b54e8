"""The data report of a run: what came in, what was left out, and what the model learns from."""

from features.report.report import write_data_report

__all__ = ["write_data_report"]
