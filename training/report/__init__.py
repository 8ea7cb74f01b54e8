"""The report of a run and its model card: one story told twice, from the same figures."""

from training.report.story import Story, read_story
from training.report.write import write_run_report

__all__ = ["Story", "read_story", "write_run_report"]
