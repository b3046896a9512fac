"""ffmpi: Forward-Forward networks whose layers live on MPI ranks."""

from __future__ import annotations

__version__ = "0.1.0"
