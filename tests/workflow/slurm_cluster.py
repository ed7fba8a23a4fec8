"""A real SLURM cluster on this machine: one node with 16 invented cores and four invented GPUs of two kinds.

Debian's packages are unpacked into a temporary folder, not installed, and all files of the cluster are there. So
/etc/slurm, /run/munge and the machine's own SLURM stay unchanged, and other Snakemakes do not find Slurm's commands.

`python slurm_cluster.py CACHE` starts a cluster and prints its folder. It stops the cluster when its standard input
ends, also if its parent is killed. A cluster that is still left is stopped by the next start.
"""

import fcntl
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

GPUS = 4
KINDS = {"big": "01", "small": "23"}  # and their devices
# Includes libraries of the same sources: apt does not fetch other packages that are already installed.
PACKAGES = ("munge", "slurm-client", "slurmctld", "slurmd", "slurm-wlm-basic-plugins", "libmunge2")
PREFIX = "virnucpro-slurm-"  # of the folders: what has this name, we made
CONFIG = """
ClusterName=test
SlurmctldHost={host}(127.0.0.1)
SlurmctldPort={ports[0]}
SlurmdPort={ports[1]}
SlurmUser=root
AuthType=auth/munge
AuthInfo=socket={folder}/munge.socket
CredType=cred/munge
PluginDir={libraries}/slurm-wlm
StateSaveLocation={folder}/state
SlurmdSpoolDir={folder}/spool
SlurmctldPidFile={folder}/slurmctld.pid
SlurmdPidFile={folder}/slurmd.pid
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
TaskProlog={folder}/prolog
TaskEpilog={folder}/epilog
MpiDefault=none
JobAcctGatherType=jobacct_gather/none
AccountingStorageType=accounting_storage/none
SelectType=select/cons_tres
SelectTypeParameters=CR_Core_Memory
SlurmdParameters=config_overrides
MinJobAge=3600
ReturnToService=2
OverTimeLimit=UNLIMITED
MessageTimeout=100
GresTypes=gpu
NodeName={host} NodeAddr=127.0.0.1 CPUs=16 RealMemory=256000 Gres={gres}
PartitionName=cpu Nodes=ALL
PartitionName=gpu Nodes=ALL
"""
# Scripts at the start and end of each task. They replace the kernel's out-of-memory killer: a task with less memory
# than the file `needed_mb` says does not start.
PROLOG = """#!/bin/sh
echo "start $(date +%s.%N) $SLURM_JOB_ID ${{CUDA_VISIBLE_DEVICES:--}}" >> {folder}/tasks
[ "${{SLURM_MEM_PER_NODE:-999999}}" -ge "$(cat {folder}/needed_mb)" ]
"""
EPILOG = """#!/bin/sh
echo "end $(date +%s.%N) $SLURM_JOB_ID ${{CUDA_VISIBLE_DEVICES:--}}" >> {folder}/tasks
"""


class Cluster:
    """A running cluster, as a test sees it."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.environment = os.environ | {"PATH": f"{folder / 'bin'}:{Path(sys.executable).parent}:{os.environ['PATH']}"}

    def command(self, *arguments: str) -> str:
        return subprocess.run(
            arguments, env=self.environment, check=True, capture_output=True, text=True, timeout=600
        ).stdout

    def jobs(self) -> dict[str, dict[str, str]]:
        """Return what scontrol says of every job so far, by id."""
        lines = self.command("scontrol", "show", "job", "--oneliner").splitlines()
        jobs = [dict(entry.split("=", 1) for entry in line.split() if "=" in entry) for line in lines]
        return {job["JobId"]: job for job in jobs if "JobId" in job}

    def tasks(self) -> list[tuple[str, float, str, str]]:
        """Return the log of tasks: start or end, when, the job's id, and its CUDA_VISIBLE_DEVICES."""
        rows = [line.split() for line in (self.folder / "tasks").read_text().splitlines()]
        return [(event, float(when), job, devices) for event, when, job, devices in rows]

    def need_mb(self, megabytes: int) -> None:
        """Let no task start from now on that has less memory."""
        (self.folder / "needed_mb").write_text(str(megabytes))


def start_guard(cache: Path) -> tuple[subprocess.Popen[str], Path]:
    """Start a process that starts a cluster and takes it down at the end of its input; return the cluster's folder."""
    guard = subprocess.Popen(
        [sys.executable, __file__, str(cache)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,  # what kills the tests' process group must not kill it
    )
    assert guard.stdout is not None
    folder = guard.stdout.readline().strip()
    assert folder, f"no cluster: {guard.communicate()[1]}"
    return guard, Path(folder)


@contextmanager
def running_cluster(cache: Path) -> Iterator[Cluster]:
    """Yield a cluster; `cache` keeps the downloaded packages."""
    guard, folder = start_guard(cache)
    try:
        yield Cluster(folder)
    finally:
        guard.communicate(timeout=600)
        assert guard.returncode == 0


def main() -> None:
    _take_down_leftovers()
    folder = Path(tempfile.mkdtemp(prefix=PREFIX))
    lock = os.open(folder, os.O_RDONLY)
    fcntl.flock(lock, fcntl.LOCK_EX)
    try:
        folder.chmod(0o755)  # munge wants its socket within everyone's reach
        _start(folder, _unpack(Path(sys.argv[1]), folder / "root"))
        print(folder, flush=True)
        sys.stdin.read()
    finally:
        _take_down(folder)


def _unpack(cache: Path, root: Path) -> Path:
    """Unpack the packages, and what they need that is not installed; return the folder of libraries."""
    (cache / "partial").mkdir(parents=True, exist_ok=True)
    options = ["-qq", "--yes", "-o", f"Dir::Cache::Archives={cache}", "-o", "Debug::NoLocking=true"]
    download = ["apt-get", "install", "--download-only", "--reinstall", "--no-install-recommends", *options, *PACKAGES]
    if subprocess.run(download, stdout=sys.stderr).returncode:
        subprocess.run(["apt-get", "update", "-qq"], stdout=sys.stderr, check=True)
        subprocess.run(download, stdout=sys.stderr, check=True)
    for package in sorted(cache.glob("*.deb"), key=os.path.getmtime):  # an update after the version it replaces
        subprocess.run(["dpkg", "--extract", package, root], check=True)
    for daemon in root.glob("usr/sbin/*-wlm"):
        # Under another name they do not know that they are daemons, and overlook the node's GPUs.
        daemon.rename(daemon.with_name(daemon.name.removesuffix("-wlm")))
    return next(root.glob("usr/lib/*-linux-gnu"))


def _start(folder: Path, libraries: Path) -> None:
    host = socket.gethostname().split(".")[0]
    values = {"folder": folder, "host": host, "ports": _free_ports(2), "libraries": libraries}
    values["gres"] = ",".join(f"gpu:{kind}:{len(devices)}" for kind, devices in KINDS.items())
    for name, text in (("slurm.conf", CONFIG), ("prolog", PROLOG), ("epilog", EPILOG)):
        (folder / name).write_text(text.format(**values))
        (folder / name).chmod(0o755)
    gres = ["AutoDetect=off"]
    for kind, devices in KINDS.items():
        gres += [f"Name=gpu Type={kind} File={folder}/gpu{device}" for device in devices]
    (folder / "gres.conf").write_text("\n".join(gres) + "\n")
    for gpu in range(GPUS):
        os.mknod(folder / f"gpu{gpu}", 0o20666, os.makedev(1, 3))  # like /dev/null: SLURM counts only device files
    for name in ("state", "spool", "bin"):
        (folder / name).mkdir()
    (folder / "needed_mb").write_text("0")
    (folder / "munge.key").touch(0o600)
    (folder / "munge.key").write_bytes(os.urandom(128))

    environment = {"SLURM_CONF": f"{folder}/slurm.conf", "LD_LIBRARY_PATH": f"{libraries}:{libraries}/slurm-wlm"}
    for command in (folder / "root" / "usr" / "bin").glob("s*"):
        # Snakemake strips SLURM_CONF from the jobs' environment.
        script = folder / "bin" / command.name
        assignments = " ".join(f"{name}={value}" for name, value in environment.items())
        script.write_text(f'#!/bin/sh\nexec env {assignments} {command} "$@"\n')
        script.chmod(0o755)
    files = [f"--{kind}-file={folder}/munge.{kind}" for kind in ("key", "pid", "log", "seed")]
    daemons = (
        ["munged", "--foreground", f"--socket={folder}/munge.socket", *files],
        ["slurmctld", "-D"],
        ["slurmd", "-D", "-d", f"{folder}/root/usr/sbin/slurmstepd"],
    )
    for name, *arguments in daemons:
        with (folder / f"{name}.log").open("w") as log:
            subprocess.Popen(
                [folder / "root" / "usr" / "sbin" / name, *arguments],
                env=os.environ | environment,
                stdout=log,
                stderr=log,
            )
        _wait_for(name, folder)


def _wait_for(daemon: str, folder: Path) -> None:
    ready = {
        "munged": lambda: (folder / "munge.socket").exists(),
        "slurmctld": lambda: _output(folder, "sinfo"),
        "slurmd": lambda: "idle" in _output(folder, "sinfo", "--noheader", "--format=%t"),
    }
    until = time.monotonic() + 600
    while not ready[daemon]():
        if time.monotonic() > until:
            sys.exit(f"{daemon} does not answer:\n{(folder / f'{daemon}.log').read_text()}")
        time.sleep(0.1)


def _output(folder: Path, command: str, *arguments: str) -> str:
    return subprocess.run([folder / "bin" / command, *arguments], capture_output=True, text=True).stdout


def _free_ports(count: int) -> list[int]:
    sockets = [socket.create_server(("127.0.0.1", 0)) for _ in range(count)]
    ports = [each.getsockname()[1] for each in sockets]
    for each in sockets:
        each.close()
    return ports


def _take_down_leftovers() -> None:
    for folder in Path(tempfile.gettempdir()).glob(f"{PREFIX}*"):
        if folder.lstat().st_uid != os.getuid():
            continue
        lock = os.open(folder, os.O_RDONLY)
        with suppress(BlockingIOError):  # its cluster lives
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            _take_down(folder)
        os.close(lock)


def _take_down(folder: Path) -> None:
    """Kill every process that has the folder in its environment: daemons, jobs, Snakemake. Remove the folder."""
    while processes := processes_of(folder):
        for process in processes:
            with suppress(ProcessLookupError):
                os.kill(process, signal.SIGKILL)
        time.sleep(0.05)
    shutil.rmtree(folder)


def processes_of(folder: Path) -> list[int]:
    """Return the ids of all processes with the folder in their environment, but this one."""
    found = []
    for entry in Path("/proc").glob("[0-9]*"):
        with suppress(OSError):
            if os.fsencode(folder) + b"/" in (entry / "environ").read_bytes():
                found.append(int(entry.name))
    return [process for process in found if process != os.getpid()]


if __name__ == "__main__":
    main()
