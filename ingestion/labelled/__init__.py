"""Source `table`, one row per example with a label: reading, judging, guessing its contract."""
