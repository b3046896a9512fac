"""Tests, which compute with NumPy on one thread: on small matrices others only wait for each other, and for jobs."""

import os

os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
