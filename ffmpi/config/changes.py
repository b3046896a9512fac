"""What may change when a run is resumed or its network evaluated, and what may not."""

from __future__ import annotations

from ..errors import UserError
from .read import change, differences, keys_of, replaced
from .registries import SCHEDULES
from .schema import Config

#: What may change when a run is resumed: the weights do not depend on it.
CHANGEABLE = (
    "schedule.name", "schedule.exchange", "schedule.depth", "schedule.threads", "schedule.timeout",
    "schedule.shared_memory", "checkpoint.every", "checkpoint.best", "checkpoint.wait", "data.path", "data.images",
    "data.labels", "data.weights", "shards.test_path",
)  # fmt: skip

#: What may be set to evaluate a network: all else is as it was when the network learnt.
EVALUATION = (
    "data.name", "data.path", "data.images", "data.labels", "classify.methods", "classify.goodness_layers",
    "train.batch_size", "schedule.depth", "schedule.threads", "schedule.timeout", "shards.test_path",
)  # fmt: skip

#: What a preset sets stands in the configuration; its name alone changes nothing.
_IDLE = ("preset",)

_NAMED = 3  # differences, at most


def with_settings(before: Config, run: str, settings: list[str]) -> Config:
    """Return the configuration `before` of the run in the directory `run` with `settings` from the command line."""
    for setting in settings:
        if not set(keys_of(setting)) <= set(CHANGEABLE):
            raise UserError(f"--set {setting}: a resumed run may change only {', '.join(CHANGEABLE)}")
    after = change(before, run, settings)
    _check_schedule(before, after, "--set ")
    return after


def with_configuration(before: Config, given: Config, run: str, source: str, option: str = "--run") -> Config:
    """Return the configuration `before` of the run in the directory `run`, with what `given` may change of it.

    `given` came from the file `source` and the command line; what it leaves to the data, ``auto``, is as it was.
    `option` is the one that says where a run lies.
    Raises UserError that names the first settings that may not change but do.
    """
    apart = differences(before, given)
    different = {key: new for key, (_, new) in apart.items() if new != "auto" and key not in _IDLE}
    fixed = [key for key in different if key not in CHANGEABLE]
    if fixed:
        named = ", ".join("{} = {!r}, now {!r}".format(key, *apart[key]) for key in fixed[:_NAMED])
        more = f" and {len(fixed) - _NAMED} more" if len(fixed) > _NAMED else ""
        raise UserError(
            f"{source}: not the configuration that the run in {run} was started with ({named}{more}); a resumed run "
            f"may change only {', '.join(CHANGEABLE)}; expected another {option} for another run"
        )
    after = replaced(before, given, CHANGEABLE)
    _check_schedule(before, after, f"{source}: ")
    return after


def _check_schedule(before: Config, after: Config, source: str) -> None:
    one, other = before.schedule, after.schedule
    if one.algorithm != other.algorithm:
        same = [name for name, schedule in SCHEDULES.members().items() if schedule.algorithm == "chapters"]
        raise UserError(
            f"{source}schedule.name={other.name}: {one.name!r} is another algorithm; a resumed run may change "
            f"between {', '.join(same[:-1])} and {same[-1]}"
        )
