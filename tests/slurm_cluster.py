"""A Slurm of two nodes on this machine, of this user, in a folder; nothing outside of it is touched. Jobs of its
partition `urgent` preempt those of the other.

sudo apt-get install slurm-wlm munge    # or, as root: python tests/slurm_cluster.py install
python tests/slurm_cluster.py FOLDER    # a cluster until Ctrl-C; it says how to use it
"""

import getpass
import os
import secrets
import shutil
import signal
import socket
import subprocess
import sys
import time
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path

PROGRAMS = ("munged", "slurmctld", "slurmd", "sbatch", "srun", "squeue", "scancel")
NODES = ("node1", "node2")

CONF = """
ClusterName=test
SlurmctldHost={host}(127.0.0.1)
SlurmctldPort={ports[0]}
AuthType=auth/munge
AuthInfo=socket={folder}/munge.socket,cred_expire=5
CredType=cred/munge
SlurmUser={user}
SlurmdUser={user}
StateSaveLocation={folder}/state
SlurmdSpoolDir={folder}/spool-%n
SlurmctldPidFile={folder}/slurmctld.pid
SlurmdPidFile={folder}/slurmd-%n.pid
SlurmctldLogFile={folder}/slurmctld.log
SlurmdLogFile={folder}/slurmd-%n.log
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
SelectType=select/cons_tres
SelectTypeParameters=CR_Core
SlurmdParameters=config_overrides
SlurmdTimeout=10
KillWait=5
ReturnToService=2
MpiDefault=none
PreemptType=preempt/partition_prio
PreemptMode=REQUEUE
NodeName=node1 NodeHostname={host} NodeAddr=127.0.0.1 Port={ports[1]} CPUs=1 RealMemory=8000
NodeName=node2 NodeHostname={host} NodeAddr=127.0.0.1 Port={ports[2]} CPUs=1 RealMemory=8000
PartitionName=main Nodes=node[1-2] Default=YES MaxTime=INFINITE State=UP PriorityTier=1 GraceTime=10
PartitionName=urgent Nodes=node[1-2] MaxTime=INFINITE State=UP PriorityTier=2 PreemptMode=OFF
"""


def missing() -> list[str]:
    """The programs that are not installed."""
    return [name for name in PROGRAMS if not shutil.which(name, path=f"{os.environ['PATH']}:/usr/sbin")]


def install() -> None:
    """From the packages of Debian or Ubuntu, as root; without starting their services."""
    subprocess.run(["apt-get", "update"], check=True)
    environment = {**os.environ, "DEBIAN_FRONTEND": "noninteractive", "RUNLEVEL": "1"}
    words = ["apt-get", "install", "-y", "--no-install-recommends", "slurm-wlm", "munge"]
    subprocess.run(words, check=True, env=environment)


@contextmanager
def cluster(folder: Path):
    """A running cluster, whose configuration SLURM_CONF must name."""
    folder = folder.resolve()
    folder.chmod(0o755)
    (folder / "state").mkdir()
    for node in NODES:
        (folder / f"spool-{node}").mkdir()
    facts = {"folder": folder, "host": socket.gethostname().split(".")[0], "user": getpass.getuser(), "ports": _ports()}
    (folder / "slurm.conf").write_text(CONF.format(**facts))
    (folder / "munge.key").touch(0o600)
    (folder / "munge.key").write_bytes(secrets.token_bytes(128))
    running = Cluster(folder)
    try:
        running.start()
        yield running
    finally:
        running.stop()


class Cluster:
    """Its daemons, each in a session of its own."""

    def __init__(self, folder: Path):
        self.folder, self.daemons = folder, {}
        path = f"{os.environ['PATH']}:/usr/sbin"
        self.environment = {**os.environ, "SLURM_CONF": str(folder / "slurm.conf"), "PATH": path}

    def start(self) -> None:
        own = {name: self.folder / f"munge.{name}" for name in ("key", "socket", "pid", "log", "seed")}
        words = [f"--key-file={own['key']}", f"--socket={own['socket']}", f"--pid-file={own['pid']}"]
        words += [f"--log-file={own['log']}", f"--seed-file={own['seed']}"]
        self._start("munged", "munged", "--foreground", "--force", *words)
        _until(own["socket"].exists, "munged does not start")
        self._start("slurmctld", "slurmctld", "-D")
        for node in NODES:
            self._start(node, "slurmd", "-D", "-N", node)
        _until(lambda: self.ask("sinfo", "-h", "-o", "%T %D") == "idle 2", "the nodes do not come up")

    def _start(self, name: str, *words: str) -> None:
        with (self.folder / f"{name}.out").open("wb") as out:
            options = {"stdout": out, "stderr": out, "stdin": subprocess.DEVNULL, "start_new_session": True}
            self.daemons[name] = subprocess.Popen(words, env=self.environment, **options)

    def ask(self, *words: str) -> str:
        """What a command of Slurm prints."""
        return subprocess.run(words, env=self.environment, capture_output=True, text=True, check=False).stdout.strip()

    def kill(self, node: str) -> int:
        """A node goes down: its daemon, and all that runs on it, by SIGKILL; returns how many processes that were."""
        jobs = {pid for pid in _processes() if self._is_job(pid, node)}
        steps = {parent for pid in jobs if "slurmstepd" in _read(parent := _parent(pid), "cmdline")}
        for pid in (own := [self.daemons[node].pid, *steps, *jobs]):
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        self.daemons.pop(node).wait()
        return len(own)

    def _is_job(self, pid: int, node: str) -> bool:
        """Whether a process is of a job on a node of ours."""
        words = _read(pid, "environ").split("\0")
        return f"SLURM_CONF={self.folder / 'slurm.conf'}" in words and f"SLURMD_NODENAME={node}" in words

    def stop(self) -> None:
        """All jobs and daemons end."""
        for node in NODES:
            if node in self.daemons:
                self.kill(node)
        for daemon in self.daemons.values():
            daemon.terminate()
            try:
                daemon.wait(10)
            except subprocess.TimeoutExpired:
                daemon.kill()
                daemon.wait()


def _processes() -> list[int]:
    return [int(path.name) for path in Path("/proc").iterdir() if path.name.isdigit()]


def _read(pid: int, file: str) -> str:
    try:
        return os.fsdecode(Path(f"/proc/{pid}/{file}").read_bytes())
    except OSError:  # it has ended
        return ""


def _parent(pid: int) -> int:
    fields = _read(pid, "stat").rpartition(")")[2].split()
    return int(fields[1]) if fields else 0


def _until(condition, complaint: str, seconds: float = 60) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > deadline:
            raise TimeoutError(complaint)
        time.sleep(0.2)


def _ports() -> list[int]:
    """Three that are free."""
    with ExitStack() as stack:
        sockets = [stack.enter_context(socket.socket()) for _ in range(3)]
        for one in sockets:
            one.bind(("127.0.0.1", 0))
        return [one.getsockname()[1] for one in sockets]


if __name__ == "__main__":
    if sys.argv[1] == "install":
        install()
    else:
        signal.signal(signal.SIGTERM, lambda *_: sys.exit())
        with cluster(Path(sys.argv[1])) as running:
            print(f"export SLURM_CONF={running.folder / 'slurm.conf'}", flush=True)
            signal.pause()
