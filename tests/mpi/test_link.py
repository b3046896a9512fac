"""Links and waiting: what the pipeline's overlap rests on."""

from __future__ import annotations

import json
import textwrap
from pathlib import Path

import pytest

from tests.conftest import Run

pytestmark = pytest.mark.mpi


def script(tmp_path: Path, body: str) -> Path:
    path = tmp_path / "job.py"
    path.write_text(textwrap.dedent(body))
    return path


@pytest.mark.parametrize("most", [2**31 - 1, 999])
def test_batches_arrive_in_order_and_whole(run: Run, tmp_path: Path, most: int) -> None:
    """Also where arrays have more numbers than a message can have."""
    job = script(
        tmp_path,
        """
        import numpy as np
        from mpi4py import MPI
        from ffmpi.runtime import mpi
        from ffmpi.runtime.link import Link
        mpi.most_numbers = MOST
        comm, depth, count = MPI.COMM_WORLD, 3, 50
        buffers = [[np.zeros(100_000, np.float32), np.zeros(3, np.uint8)] for _ in range(depth)]
        link = Link(comm, 1 - comm.rank, 7, depth, 30)
        if comm.rank == 0:
            for i in range(count):
                link.wait(i % depth)
                for part in buffers[i % depth]:
                    part[:] = i
                link.send(i % depth, buffers[i % depth])
            for slot in range(depth):
                link.wait(slot)
        else:
            for slot in range(depth):
                link.post(slot, buffers[slot])
            for i in range(count):
                link.wait(i % depth)
                assert all((part == i).all() for part in buffers[i % depth]), (i, buffers)
                if i + depth < count:
                    link.post(i % depth, buffers[i % depth])
            print("received", count)
        """.replace("MOST", str(most)),
    )
    done = run(2, job)
    assert done.returncode == 0, done.stderr
    assert done.stdout.split() == ["received", "50"]


def test_messages_travel_between_kernels(run: Run, tmp_path: Path) -> None:
    """A large message is there after some kernels on both ranks; without `make_progress` not all of it has moved.

    Another message that nobody has asked for yet, such as a rank's measurements, must not hold it up.
    """
    job = script(
        tmp_path,
        """
        import json, time
        from ffmpi.runtime.mpi import make_progress, start
        import numpy as np
        comm = start()
        move, arrived = make_progress(comm), []
        early = comm.Isend(np.zeros(1), 1 - comm.rank, 9)
        for driven in (False, True):
            data = np.full(1 << 21, comm.rank, np.float64)
            comm.Barrier()
            request = comm.Isend(data, 1, 1) if comm.rank == 0 else comm.Irecv(data, 0, 1)
            for _ in range(400):
                time.sleep(1e-3)  # in the place of a kernel
                if driven:
                    move()
            arrived.append(bool((data == 0).all()))
            request.Wait()
        comm.Recv(np.zeros(1), 1 - comm.rank, 9)
        early.Wait()
        if comm.rank == 1:
            print(json.dumps(arrived))
        """,
    )
    done = run(2, job)
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout) == [False, True]


def test_waiting_leaves_the_core_to_others(run: Run, tmp_path: Path) -> None:
    job = script(
        tmp_path,
        """
        import time
        import numpy as np
        from ffmpi.runtime.mpi import start, wait
        comm = start()
        data = np.zeros(1)
        comm.Barrier()
        if comm.rank == 0:
            time.sleep(2)
            comm.Send(data, 1)
        else:
            before = time.process_time()
            wait(comm.Irecv(data, 0))
            print(time.process_time() - before)
        """,
    )
    done = run(2, job)
    assert done.returncode == 0, done.stderr
    assert float(done.stdout) < 0.3


def test_one_rank_of_a_host_compiles(run: Run, tmp_path: Path) -> None:
    """Three ranks that start together on an empty cache: a kernel is compiled once, loaded twice."""
    job = script(
        tmp_path,
        """
        import numpy as np
        from ffmpi.kernels import row_scale
        from ffmpi.runtime.mpi import one_per_host_first, start
        comm, one = start(), np.ones(1, np.float32)
        with one_per_host_first(comm):
            row_scale(one, 1, one[0], one[0], one)
        misses, hits = sum(row_scale.stats.cache_misses.values()), sum(row_scale.stats.cache_hits.values())
        total = comm.gather((misses, hits))
        if comm.rank == 0:
            print(*(sum(column) for column in zip(*total)))
        """,
    )
    done = run(3, job, NUMBA_CACHE_DIR=str(tmp_path / "cache"))
    assert done.returncode == 0, done.stderr
    assert done.stdout.split() == ["1", "2"]
