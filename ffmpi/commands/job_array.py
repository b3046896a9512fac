"""A sweep as a job array of Slurm's: the batch script, and its way into the queue."""

from __future__ import annotations

import json
import os
import shlex
import shutil
import subprocess
import sys
from collections.abc import Sequence

from ..config.grid import Point
from ..errors import UserError, ranges
from ..run.directory import put
from ..run.sweep import SweepDirectory
from ..runtime.launch import mpiexec

_SCRIPT = """\
#!/usr/bin/env bash
# Written by 'ffmpi sweep': each task of the job array carries out one run, and goes on where a time limit ends it.
#
# Two minutes before the limit Slurm sends SIGUSR1: all ranks stop after their batch with status 75, and the script puts
# its job back into the queue, under the same number. A job in which nothing new was saved is not repeated.
{options}

cd {folder} || exit 2
sweep={sweep}
runs=(
{runs}
)
name=${{runs[$SLURM_ARRAY_TASK_ID]}} run=$sweep/${{runs[$SLURM_ARRAY_TASK_ID]}}
mkdir -p "$run" && exec >>"$run/output.log" 2>&1 || exit 2

saved() {{ stat --format=%i,%Y "$run/checkpoint.h5" 2>/dev/null; }}
before=$(saved)

{launcher}{python} -P -m ffmpi train "$sweep/configs/$name.toml" --run "$run" --resume &
launcher=$! signals=0 limit=no
trap 'signals=$((signals + 1)) limit=yes; kill -USR1 "$launcher"' USR1
# scancel and preemption send SIGTERM: all ranks stop in the same way, and Slurm decides what becomes of the job.
trap 'signals=$((signals + 1)); kill -USR1 "$launcher"' TERM
seen=-1
while [ "$seen" -ne "$signals" ]; do  # a signal ends `wait`, but not yet the launcher
    seen=$signals
    wait "$launcher"
    status=$?
done

if [ "$status" -eq 75 ] && [ "$limit" = yes ]; then
    if [ "$(saved)" = "$before" ]; then
        echo "stopped before anything new was saved: not put back into the queue; expected a longer --time" >&2
    else
        # The job's number alone may mean the whole array.
        scontrol requeue "${{SLURM_ARRAY_JOB_ID}}_$SLURM_ARRAY_TASK_ID"
    fi
fi
exit "$status"
"""


def sweep(
    points: Sequence[Point], directory: SweepDirectory, ranks: int, options: Sequence[str], submit: bool, as_json: bool
) -> int:
    """Write the batch script of the runs that are not finished, and with `submit` put it into the queue; return 0.

    `options` are those of sbatch that the user gave, as words. Raises UserError where Slurm refuses the job.
    """
    tasks = [number for number, point in enumerate(points) if not directory.finished(point.name, point.config)]
    answer: dict[str, object] = {"runs": len(points), "tasks": tasks, "script": None, "job": None}
    if tasks:
        try:
            directory.logs.mkdir(exist_ok=True)
            put(directory.script, script(points, tasks, directory, ranks, options))
        except OSError as error:
            raise UserError(
                f"{directory.script}: cannot be written ({error.strerror}); expected another --dir"
            ) from None
        answer |= {"script": str(directory.script), "job": _submit(directory) if submit else None}
    if as_json:
        print(json.dumps(answer))
        return 0
    then = f"'ffmpi table {directory.path}' sums up what is done"
    if not tasks:
        print(f"all {len(points)} runs are done; {then}")
    else:
        how = f"submitted as job {answer['job']}" if submit else f"submit it with 'sbatch {directory.script}'"
        print(f"{directory.script}: a job array for {len(tasks)} of {len(points)} runs; {how}; {then}")
    return 0


def script(
    points: Sequence[Point], tasks: Sequence[int], directory: SweepDirectory, ranks: int, options: Sequence[str]
) -> str:
    """Return the batch script for the `tasks`, indices of `points`; the user's `options` come last, so they count."""
    threads = max(point.config.schedule.threads for point in points)
    place = directory.path.absolute()
    ours = [
        f"--job-name={shlex.quote(place.name)}",
        f"--nodes=1 --ntasks={ranks}",
        f"--cpus-per-task={threads}",
        "--signal=B:USR1@120",
        "--requeue --open-mode=append",
        f"--output={shlex.quote(str(directory.logs.absolute()).replace('%', '%%') + '/%A_%a.log')}",
        "--array=" + ranges(tasks, 2).replace(" to ", "-").replace(" ", ""),
        *_options(options),
    ]
    return _SCRIPT.format(
        options="\n".join(f"#SBATCH {option}" for option in ours),
        folder=shlex.quote(os.getcwd()),
        sweep=shlex.quote(str(place)),
        runs="\n".join(f"    {shlex.quote(point.name)}" for point in points),
        launcher=f'{shlex.quote(mpiexec())} -n "$SLURM_NTASKS" ' if ranks > 1 else "",
        python=shlex.quote(sys.executable),
    )


def _options(words: Sequence[str]) -> list[str]:
    """Return sbatch's options, each with its value: what does not begin with a dash belongs to the option before."""
    found: list[str] = []
    for word in words:
        if word.startswith("-"):
            found.append(shlex.quote(word))
        elif found:
            found[-1] += f" {shlex.quote(word)}"
        else:
            raise UserError(f"{word}: expected after '--' options of sbatch, such as --time=01:00:00")
    return found


def _submit(directory: SweepDirectory) -> str:
    """Put the batch script into the queue and return the job's number."""
    if shutil.which("sbatch") is None:
        raise UserError(
            f"--submit: no sbatch in PATH; expected a machine of a cluster with Slurm ({directory.script} is written)"
        )
    done = subprocess.run(
        ["sbatch", "--parsable", str(directory.script)],
        capture_output=True,
        text=True,
        check=False,
        stdin=subprocess.DEVNULL,
    )
    if done.returncode:
        said = " ".join(done.stderr.split()) or f"exit status {done.returncode}"
        raise UserError(f"sbatch {directory.script}: {said}; expected options of this cluster after '--'")
    return done.stdout.strip().partition(";")[0]
