"""A Slurm of our own on this machine: one controller, two nodes, a stand-in for a GPU.

Debian's packages are unpacked into a folder and run from there: nothing is installed, no service of
the machine is touched, nothing listens beyond loopback, and all of it ends with the context. Limits
on memory are not enforced, and the GPU (/dev/null) is one that Slurm counts and nobody computes on.
"""

from __future__ import annotations

import contextlib
import os
import secrets
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import psutil

PACKAGES = ("slurmctld", "slurmd", "slurm-client", "slurm-wlm-basic-plugins", "munge")
NODES = ("node1", "node2")
GPU_NODE = "node2"


def why_not() -> str | None:
    """Why no cluster can be had here, in words, or None."""
    if missing := [name for name in ("apt-get", "dpkg-deb") if not shutil.which(name)]:
        return f"expected Debian or a system made from it, got no {' nor '.join(missing)}"
    if os.geteuid():
        return "expected root, which Slurm's daemons run jobs as, got another user"
    return None


def wait_for(condition: Callable[[], object], what: str, seconds: float = 60) -> None:
    """Until `condition()` is true. Raises TimeoutError that names what did not come."""
    limit = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > limit:
            raise TimeoutError(f"{what}: not within {seconds:.0f} s")
        time.sleep(0.2)


def free_ports(count: int) -> list[int]:
    """Ports of loopback that nothing listens on, all different."""
    with contextlib.ExitStack() as stack:
        sockets = [stack.enter_context(socket.socket()) for _ in range(count)]
        for one in sockets:
            one.bind(("127.0.0.1", 0))
        return [one.getsockname()[1] for one in sockets]


def fetch(folder: Path) -> None:
    """Unpack Slurm's packages, and what they need that this machine lacks, into `folder`."""

    def apt(*arguments: str) -> str:
        return subprocess.run(
            ["apt-get", *arguments], cwd=folder.parent, capture_output=True, text=True, check=True
        ).stdout

    simulate = ("install", "--simulate", "--no-install-recommends", "--reinstall", *PACKAGES)
    options: list[str] = []
    try:
        plan = apt(*simulate)
    except subprocess.CalledProcessError:  # no package lists, as in a bare container
        (folder.parent / "lists/partial").mkdir(parents=True)
        options = ["-o", f"Dir::State::lists={folder.parent}/lists"]
        apt(*options, "update")
        plan = apt(*options, *simulate)
    names = [line.split()[1] for line in plan.splitlines() if line.startswith("Inst ")]
    apt(*options, "download", *names)
    for package in folder.parent.glob("*.deb"):
        subprocess.run(["dpkg-deb", "--extract", str(package), str(folder)], check=True)
        package.unlink()


class Cluster:
    """The running cluster; its commands (sbatch, squeue, scontrol, ...) stand in `commands`."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.packages = folder / "packages"
        self.commands = folder / "bin"
        self.conf = folder / "slurm.conf"
        self.daemons: dict[str, subprocess.Popen[bytes]] = {}
        for name in ("packages", "bin", "state", "log", *(f"spool/{node}" for node in NODES)):
            (folder / name).mkdir(parents=True)
        fetch(self.packages)
        [library] = self.packages.glob("usr/lib/*/slurm*/libslurmfull.so")
        self.plugins = library.parent
        self.environment = os.environ | {
            "LD_LIBRARY_PATH": f"{self.plugins}:{self.plugins.parent}",
            "SLURM_CONF": str(self.conf),
        }
        self._write_commands()
        self._write_configuration()

    def _program(self, name: str) -> Path:
        """A daemon under its own name, by which it knows itself; Debian's files end in -wlm."""
        link = self.folder / "bin" / name
        if not link.exists():
            sbin = self.packages / "usr/sbin"
            link.symlink_to(next(p for p in (sbin / f"{name}-wlm", sbin / name) if p.exists()))
        return link

    def _write_commands(self) -> None:
        """Wrappers, since a job starts without SLURM_CONF, which Snakemake's executor takes out."""
        for program in (self.packages / "usr/bin").iterdir():
            wrapper = self.commands / program.name
            wrapper.write_text(
                "#!/bin/sh\n"
                f"export SLURM_CONF={self.conf}\n"
                f"export LD_LIBRARY_PATH={self.environment['LD_LIBRARY_PATH']}\n"
                f'exec {program} "$@"\n'
            )
            wrapper.chmod(0o755)

    def _write_configuration(self) -> None:
        folder = self.folder
        self.key = folder / "munge.key"
        self.key.write_bytes(secrets.token_bytes(128))
        self.key.chmod(0o400)
        control, *ports = free_ports(1 + len(NODES))
        nodes = "\n".join(
            f"NodeName={name} NodeHostname=localhost NodeAddr=127.0.0.1 Port={port} CPUs=4 "
            f"RealMemory=64000 Weight={weight}" + (" Gres=gpu:1" if name == GPU_NODE else "")
            for weight, (name, port) in enumerate(zip(NODES, ports, strict=True), 1)
        )
        self.conf.write_text(f"""\
ClusterName=spikebert
SlurmctldHost=localhost(127.0.0.1)
SlurmctldPort={control}
CommunicationParameters=NoCtldInAddrAny,NoInAddrAny
AuthType=auth/munge
AuthInfo=socket={folder}/munge.socket,cred_expire=5
SlurmUser=root
SlurmdUser=root
PluginDir={self.plugins}
StateSaveLocation={folder}/state
SlurmdSpoolDir={folder}/spool/%n
SlurmctldPidFile={folder}/slurmctld.pid
SlurmdPidFile={folder}/slurmd.%n.pid
SlurmctldLogFile={folder}/log/slurmctld
SlurmdLogFile={folder}/log/%n
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
MpiDefault=none
JobAcctGatherType=jobacct_gather/none
AccountingStorageType=accounting_storage/none
JobCompType=jobcomp/none
SelectType=select/cons_tres
SelectTypeParameters=CR_Core_Memory
EnforcePartLimits=ALL
SchedulerParameters=sched_interval=2,bf_interval=2,batch_sched_delay=0
SlurmdTimeout=10
KillWait=5
MinJobAge=3600
ReturnToService=2
SlurmdParameters=config_overrides
GresTypes=gpu
{nodes}
PartitionName=all Nodes=ALL Default=YES MaxTime=INFINITE State=UP
""")
        (folder / "gres.conf").write_text(f"NodeName={GPU_NODE} Name=gpu File=/dev/null\n")

    def _launch(self, name: str, *command: object) -> None:
        log = (self.folder / "log" / f"{name}.out").open("wb")
        self.daemons[name] = subprocess.Popen(
            [str(part) for part in command],
            env=self.environment,
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )

    def __enter__(self) -> Cluster:
        folder = self.folder
        try:
            self._launch(
                "munged", self._program("munged"), "--foreground", "--force",
                f"--key-file={self.key}",
                f"--socket={folder}/munge.socket", f"--pid-file={folder}/munged.pid",
                f"--log-file={folder}/log/munged", f"--seed-file={folder}/munged.seed",
            )  # fmt: skip
            wait_for((folder / "munge.socket").exists, "munged")
            self._launch("slurmctld", self._program("slurmctld"), "-D", "-f", self.conf)
            for node in NODES:
                self.start_node(node)
            wait_for(lambda: self("sinfo", "-hNo", "%N %t") == "node1 idle\nnode2 idle", "nodes")
        except BaseException:
            self.__exit__()
            raise
        return self

    def start_node(self, name: str) -> None:
        stepd = self._program("slurmstepd")
        self._launch(name, self._program("slurmd"), "-D", "-N", name, "-f", self.conf, "-d", stepd)

    def kill_node(self, name: str) -> None:
        """SIGKILL to a node's daemon and to all that runs on it, as if its power went."""
        steps = [p for p in self.processes() if "slurmstepd" in p.name() and name in self._spool(p)]
        victims = [psutil.Process(self.daemons[name].pid), *steps]
        victims += [child for step in steps for child in step.children(recursive=True)]
        for victim in victims:
            with contextlib.suppress(psutil.NoSuchProcess):
                victim.kill()
        self.daemons.pop(name).wait()

    @staticmethod
    def _spool(process: psutil.Process) -> str:
        with contextlib.suppress(psutil.Error):
            return process.cwd() + " " + " ".join(f.path for f in process.open_files())
        return ""

    def processes(self) -> Iterator[psutil.Process]:
        """All of this cluster: daemons, steps and what the jobs started."""
        for process in psutil.process_iter():
            with contextlib.suppress(psutil.Error):
                if process.environ().get("SLURM_CONF") == str(self.conf):
                    yield process

    def __call__(self, *command: str) -> str:
        """What a command of Slurm prints; empty if it fails."""
        program = str(self.commands / command[0])
        run = subprocess.run([program, *command[1:]], capture_output=True, text=True, check=False)
        return run.stdout.strip()

    def jobs(self) -> list[dict[str, str]]:
        """Every job so far, in the words of `scontrol show job`."""
        lines = self("scontrol", "--oneliner", "show", "job").splitlines()
        return [dict(f.split("=", 1) for f in line.split() if "=" in f) for line in lines]

    def __exit__(self, *_: object) -> None:
        for name in ("slurmctld", *NODES, "munged"):
            if daemon := self.daemons.get(name):
                daemon.terminate()
        for _ in range(20):  # what is ending may still start something
            left = [p for p in self.processes() if p.pid != os.getpid()]
            if not left:
                break
            _, alive = psutil.wait_procs(left, timeout=3)
            for process in alive:
                with contextlib.suppress(psutil.NoSuchProcess):
                    process.kill()
        for daemon in self.daemons.values():
            daemon.wait()


if __name__ == "__main__":
    if reason := why_not():
        sys.exit(f"no Slurm can be started here: {reason}")
