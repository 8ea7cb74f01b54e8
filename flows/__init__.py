"""What runs when: Prefect flows and tasks. Wiring only, no SQL, no maths, no model code."""

import sys

from common.interrupt import exit_on_ctrl_c

if sys.argv[0] == "-m":  # as it is while Python looks for the module of `python -m`
    exit_on_ctrl_c()
