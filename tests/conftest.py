import os

import torch
from hypothesis import settings

# No test is timed.  Where a failure blocks others, examples are the same every time; elsewhere they vary.
settings.register_profile("mimetric", deadline=None, derandomize=bool(os.environ.get("CI")))
settings.load_profile("mimetric")

torch.set_num_threads(1)  # one worker per core runs the suite
