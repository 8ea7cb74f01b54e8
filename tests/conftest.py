"""What holds for every test: libraries are as quiet in a test as in a run."""

import os

from configs.environment import QUIET

os.environ.update(QUIET)  # read while the libraries are imported
