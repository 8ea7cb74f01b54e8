"""What runs when: Prefect flows, tasks and commands, which call what the packages offer."""

import sys

from common.interrupt import exit_on_ctrl_c

if sys.argv[0] == "-m":  # as it is while Python looks for the module of `python -m`
    exit_on_ctrl_c()
