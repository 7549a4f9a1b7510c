"""A Slurm cluster of this machine alone, in a folder: munged, slurmctld, and a slurmd for each of its nodes.

Needs root, and the programs of Debian's packages ``slurm-wlm`` and ``munge``; no systemd, no configuration outside the
folder.
"""

import contextlib
import os
import shutil
import signal
import socket
import subprocess
import time
from pathlib import Path

import psutil

PROGRAMS = ("munged", "slurmctld", "slurmd", "sbatch", "squeue", "scontrol", "scancel", "srun", "setpriv")
START_S = 60

CONFIGURATION = """
ClusterName=tiny
SlurmctldHost={host}(127.0.0.1)
SlurmctldPort={controller_port}
SlurmUser=root
SlurmdUser=root
AuthType=auth/munge
AuthInfo=socket={folder}/munge.socket,cred_expire=5
CredType=cred/munge
StateSaveLocation={folder}/state
SlurmdSpoolDir={folder}/spool-%n
SlurmctldPidFile={folder}/slurmctld.pid
SlurmdPidFile={folder}/slurmd-%n.pid
SlurmctldLogFile={folder}/slurmctld.log
SlurmdLogFile={folder}/slurmd-%n.log
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
MpiDefault=none
SelectType=select/cons_tres
SelectTypeParameters=CR_Core_Memory
JobAcctGatherType=jobacct_gather/linux
JobAcctGatherFrequency=task=1
JobAcctGatherParams=OverMemoryKill
SchedulerParameters=sched_min_interval=100000,batch_sched_delay=0,sched_interval=2,bf_interval=1
SlurmdParameters=config_overrides
ReturnToService=2
SlurmctldTimeout=30
SlurmdTimeout=10
KillWait=10
MinJobAge=300
DefMemPerCPU=3000
{nodes}
PartitionName=main Nodes=ALL Default=YES MaxTime=INFINITE State=UP
"""


def missing() -> str:
    """Why a cluster cannot be started here, or nothing."""
    lacking = [name for name in PROGRAMS if not program(name)]
    if lacking:
        return f"Slurm is not installed: no {', '.join(lacking)}"
    return "" if os.geteuid() == 0 else "a Slurm cluster of one's own needs root"


def program(name: str) -> str | None:
    return shutil.which(name, path=os.environ.get("PATH", "") + ":/usr/sbin:/sbin")


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


class Cluster:
    """``nodes`` nodes named node1, node2, ... of two CPUs each; used as a context manager it is up inside.

    ``environment``: what commands need in order to speak to this cluster and to no other.
    """

    def __init__(self, folder: Path, nodes: int = 2) -> None:
        self.folder = folder
        self.names = [f"node{number}" for number in range(1, nodes + 1)]
        self.environment = {"SLURM_CONF": str(folder / "slurm.conf")}
        self.daemons: dict[str, subprocess.Popen] = {}

    def __enter__(self) -> "Cluster":
        self._configure()
        try:
            files = {"key-file": "key", "socket": "socket", "pid-file": "pid", "seed-file": "seed", "log-file": "log"}
            munge = [f"--{option}={self.folder / 'munge'}.{ending}" for option, ending in files.items()]
            self._start("munged", "--foreground", "--force", *munge)
            self._wait(lambda: (self.folder / "munge.socket").exists(), "munged does not answer")
            self._start("slurmctld", "-D", "-c")
            for name in self.names:
                self.node_up(name)
            self._wait(lambda: self.states() == dict.fromkeys(self.names, "idle"), "the nodes do not come up")
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        with contextlib.suppress(Exception):
            self.command("scancel", "--user=root", "--signal=KILL", "--full")
        for name in reversed(list(self.daemons)):
            self._stop(name)

    def command(self, name: str, *arguments: str) -> str:
        """Standard output of one of Slurm's commands; raises CalledProcessError when it fails."""
        return subprocess.run(
            [program(name), *arguments], env=os.environ | self.environment,
            check=True, capture_output=True, text=True, timeout=START_S,
        ).stdout  # fmt: skip

    def states(self) -> dict[str, str]:
        with contextlib.suppress(subprocess.CalledProcessError, subprocess.TimeoutExpired):
            lines = self.command("sinfo", "--noheader", "--Node", "--format=%N %t").split("\n")
            return dict(line.split() for line in lines if line)
        return {}

    def node_up(self, name: str) -> None:
        self._start("slurmd", "-D", "-N", name, label=name)

    def node_down(self, name: str) -> None:
        """As if the machine had lost power: its daemon and all that runs on it are gone at once, without a word."""
        self._stop(name, signal.SIGKILL)
        processes = [process for process in psutil.process_iter() if self._runs_on(process, name)]
        keepers = {parent for process in processes for parent in process.parents() if "slurmstepd" in parent.name()}
        for process in [*keepers, *processes]:
            with contextlib.suppress(psutil.Error):
                process.kill()

    def _runs_on(self, process: psutil.Process, name: str) -> bool:
        with contextlib.suppress(psutil.Error):
            return process.environ().items() >= (self.environment | {"SLURMD_NODENAME": name}).items()
        return False

    def _configure(self) -> None:
        for name in ("state", *(f"spool-{name}" for name in self.names)):
            (self.folder / name).mkdir(parents=True, exist_ok=True)
        self.folder.chmod(0o755)
        (self.folder / "munge.key").write_bytes(os.urandom(128))
        (self.folder / "munge.key").chmod(0o600)
        host = socket.gethostname()
        nodes = "\n".join(
            f"NodeName={name} NodeHostname={host} NodeAddr=127.0.0.1 Port={free_port()} CPUs=2 RealMemory=8000"
            for name in self.names
        )
        values = {"host": host, "folder": self.folder, "nodes": nodes, "controller_port": free_port()}
        (self.folder / "slurm.conf").write_text(CONFIGURATION.format(**values))

    def _start(self, name: str, *arguments: str, label: str = "") -> None:
        with open(self.folder / f"{label or name}.output", "ab") as output:
            self.daemons[label or name] = subprocess.Popen(
                ["setpriv", "--pdeathsig=TERM", program(name), *arguments],  # none outlives this process
                env=os.environ | self.environment, stdin=subprocess.DEVNULL,
                stdout=output, stderr=subprocess.STDOUT, start_new_session=True,
            )  # fmt: skip

    def _stop(self, name: str, number: signal.Signals = signal.SIGTERM) -> None:
        daemon = self.daemons.pop(name)
        daemon.send_signal(number)
        with contextlib.suppress(subprocess.TimeoutExpired):
            daemon.wait(10)
        daemon.kill()  # nothing happens to one that has ended
        daemon.wait()

    def _wait(self, condition, failure: str) -> None:
        deadline = time.monotonic() + START_S
        while not condition():
            ended = [name for name, daemon in self.daemons.items() if daemon.poll() is not None]
            if ended or time.monotonic() > deadline:
                logs = "\n".join(path.read_text()[-500:] for path in self.folder.glob("*.log"))
                raise RuntimeError(f"{failure} ({', '.join(ended) or 'waited too long'}; see {self.folder}):\n{logs}")
            time.sleep(0.2)
