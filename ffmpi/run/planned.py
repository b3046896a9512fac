"""What plan.json says of a run: how long it was expected to take, and took."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import msgspec
from msgspec import Meta

from ..errors import UserError

_Seconds = Annotated[float, Meta(ge=0, le=1e12)]


class Planned(msgspec.Struct):
    """What is read of plan.json, in seconds; a run that has not come to its end has no time it took."""

    planned: _Seconds
    took: _Seconds | None = None

    @property
    def text(self) -> str:
        """Both in words."""
        return compared(self.planned, self.took) if self.took else f"planned {self.planned:.1f} s"


def compared(planned: float, took: float) -> str:
    """Return how a plan compares with the seconds that a run took, which are not 0."""
    return f"planned {planned:.1f} s, took {took:.1f} s ({100 * abs(planned / took - 1):.0f} %)"


def planned(run: Path) -> Planned | None:
    """Return what the run directory `run` says, None if its run was not planned. UserError if it is damaged."""
    path = run / "plan.json"
    try:
        return msgspec.convert(json.loads(path.read_text(encoding="utf-8")), Planned)
    except FileNotFoundError:
        return None
    except (OSError, ValueError, RecursionError) as error:
        raise UserError(f"{path}: cannot be read ({error}); expected what a run leaves there") from None
