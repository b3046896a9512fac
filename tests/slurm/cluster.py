"""A Slurm of two nodes on this machine, for as long as a test session: without systemd, munge or accounts."""

from __future__ import annotations

import os
import shutil
import signal
import socket
import subprocess
import time
from pathlib import Path

PROGRAMS = ("slurmctld", "slurmd", "sbatch", "srun", "scancel", "scontrol", "squeue")
INSTALL = "apt-get install --no-install-recommends slurmctld slurmd slurm-client"

CONFIG = """
ClusterName=test
FirstJobId={first}
SlurmctldHost={host}(127.0.0.1)
SlurmUser={user}
SlurmdUser={user}
AuthType=auth/none
CredType=cred/none
AuthInfo=cred_expire=5
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
SwitchType=switch/none
JobAcctGatherType=jobacct_gather/none
SelectType=select/cons_tres
SelectTypeParameters=CR_CPU
SlurmdParameters=config_overrides
SchedulerParameters=sched_interval=1,bf_interval=1,batch_sched_delay=0
KillWait=5
ReturnToService=2
JobRequeue=1
PropagateResourceLimits=NONE
MpiDefault=none
SlurmctldPort={ports[0]}
SlurmctldPidFile={folder}/slurmctld.pid
SlurmctldLogFile={folder}/slurmctld.log
StateSaveLocation={folder}/state
SlurmdPidFile={folder}/%n.pid
SlurmdLogFile={folder}/%n.log
SlurmdSpoolDir={folder}/spool-%n
NodeName=n1 NodeHostname={host} NodeAddr=127.0.0.1 Port={ports[1]} CPUs=4
NodeName=n2 NodeHostname={host} NodeAddr=127.0.0.1 Port={ports[2]} CPUs=4
PartitionName=all Nodes=n1,n2 Default=YES State=UP MaxTime=INFINITE
"""


def missing() -> str:
    """Return why there can be no cluster here, or an empty string."""
    absent = [name for name in PROGRAMS if shutil.which(name) is None]
    if absent:
        return f"no {', '.join(absent)}; {INSTALL}"
    return "" if os.getuid() == 0 else "slurmd wants to be root"


class Cluster:
    """The daemons, which end with `stop`, and the client programs, which find them by SLURM_CONF."""

    def __init__(self, folder: Path) -> None:
        """Start the daemons with everything they write in `folder`."""
        sockets = [socket.create_server(("127.0.0.1", 0)) for _ in range(3)]
        ports = [free.getsockname()[1] for free in sockets]
        for free in sockets:
            free.close()
        host = subprocess.run(["hostname", "-s"], capture_output=True, text=True, check=True).stdout.strip()
        first = int(time.time()) % 60_000_000 + 1  # MPI leaves memory behind under a number made of the job's
        self.folder, self.config = folder, folder / "slurm.conf"
        self.config.write_text(CONFIG.format(host=host, user="root", ports=ports, folder=folder, first=first))
        (folder / "state").mkdir()
        self.env = {name: value for name, value in os.environ.items() if not name.startswith(("SLURM_", "PMI"))}
        self.env["SLURM_CONF"] = str(self.config)
        self._daemons: list[subprocess.Popen[bytes]] = []
        self._start("slurmctld", "-D", "-f", self.config)
        for node in ("n1", "n2"):
            self._start("slurmd", "-D", "-f", self.config, "-N", node)
        self.until(lambda: self.run("sinfo", "-h", "-o", "%T").strip() == "idle", 30)

    def _start(self, *command: object) -> None:
        arguments = [str(part) for part in command]
        with open(self.folder / "daemons.log", "ab") as log:
            self._daemons.append(
                subprocess.Popen(arguments, env=self.env, stdout=log, stderr=log, start_new_session=True)
            )

    def run(self, *command: object, check: bool = True) -> str:
        """Return what a client program prints."""
        arguments = [str(part) for part in command]
        done = subprocess.run(arguments, env=self.env, capture_output=True, text=True, timeout=60, check=False)
        assert done.returncode == 0 or not check, done.stderr
        return done.stdout

    def until(self, condition: object, seconds: float) -> None:
        """Wait for a condition."""
        deadline = time.monotonic() + seconds
        while not condition():  # type: ignore[operator]
            assert time.monotonic() < deadline, self.log()
            time.sleep(0.1)

    def log(self) -> str:
        """Return the ends of what the daemons have written."""
        return "\n".join(f"{path.name}:\n{path.read_text()[-2000:]}" for path in sorted(self.folder.glob("*.log")))

    def state(self, job: str) -> str:
        """Return the state of a job, such as RUNNING."""
        fields = self.run("scontrol", "show", "job", "--oneliner", job).split()
        return next(field.partition("=")[2] for field in fields if field.startswith("JobState="))

    def left(self, name: str = "", argument: str = "") -> list[int]:
        """Return the processes of jobs that are still there, or those called `name` with `argument` among theirs."""
        found = []
        for entry in Path("/proc").iterdir():
            try:
                if (
                    entry.name.isdigit()
                    and f"SLURM_CONF={self.config}".encode() in (entry / "environ").read_bytes()
                    and name in (entry / "comm").read_text()
                    and argument in (entry / "cmdline").read_text()
                ):
                    found.append(int(entry.name))
            except OSError:
                continue
        return sorted(found)

    def stop(self) -> None:
        """End all jobs, then the daemons, and whatever is left of either."""
        self.run("scancel", "--user=root", check=False)
        deadline = time.monotonic() + 15
        while self.run("squeue", "-h", check=False).strip() and time.monotonic() < deadline:
            time.sleep(0.2)
        for daemon in reversed(self._daemons):
            daemon.terminate()
        for daemon in self._daemons:
            try:
                daemon.wait(10)
            except subprocess.TimeoutExpired:
                daemon.kill()
                daemon.wait()
        for pid in self.left():
            try:
                os.kill(pid, signal.SIGKILL)
            except ProcessLookupError:
                continue
