#!/usr/bin/env bash
# Trains on several nodes, started by srun, and continues by itself where the time limit ends it:
#
#   sbatch runs/slurm/nodes-srun.sh CONFIG RUN [--set TABLE.KEY=VALUE ...]
#
# Submit it where the environment .venv lies, with the lines marked CHANGE as your cluster wants them.
#
# Two minutes before the limit Slurm sends SIGUSR1: all ranks stop after their batch with status 75, and the script puts
# its job back into the queue, under the same number. The same command line starts the run, and continues it from its
# last checkpoint to the same bits. A job in which nothing new was saved is not repeated.
#SBATCH --time=01:00:00           # CHANGE
##SBATCH --partition=NAME         # CHANGE, and take away one #
#SBATCH --nodes=2 --ntasks=2   # CHANGE: ranks, at most layers + 1
#SBATCH --cpus-per-task=1         # CHANGE: as many as schedule.threads
#SBATCH --signal=B:USR1@120
#SBATCH --requeue --open-mode=append
#SBATCH --output=%x-%j.log

# module load python mpich        # CHANGE: the MPI that mpi4py is to find
. .venv/bin/activate              # CHANGE
pmi=pmi2                          # CHANGE: pmi2 for MPICH and its kin, pmix for Open MPI

set -u
config=${1:?expected: sbatch runs/slurm/nodes-srun.sh CONFIG RUN}
run=${2:?expected: sbatch runs/slurm/nodes-srun.sh CONFIG RUN}
shift 2

saved() { stat --format=%i,%Y "$run/checkpoint.h5" 2>/dev/null; }
before=$(saved)
# A killed rank of MPICH's leaves memory under a name made of job and step, with which the job, repeated, cannot start.
if [ "${SLURM_RESTART_COUNT:-0}" -gt 0 ]; then
    srun --ntasks-per-node=1 --ntasks="$SLURM_NNODES" \
        find /dev/shm -maxdepth 1 -user "$(id -un)" -name 'mpich_shm_*' -mmin +1 -delete
fi

srun --kill-on-bad-exit --mpi="$pmi" ffmpi train "$config" --run "$run" --resume "$@" &
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
        scontrol requeue "$SLURM_JOB_ID"
    fi
fi
exit "$status"
