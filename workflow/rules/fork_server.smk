# Imports take more of a short job than its work does. Where many jobs run beside Snakemake, they are
# copies of one process that has imported everything (spikebert/fork_server.py). The variable
# SPIKEBERT_FORK_SERVER, set to anything, also to nothing, keeps Snakemake from starting it.

import subprocess
import tempfile

ENOUGH_JOBS = 12


def start_fork_server():
    """It ends with Snakemake, whose end of the pipe is the last."""
    beside = workflow.local_exec and workflow.is_main_process and sys.platform == "linux"
    if not beside or plan.gpu or "SPIKEBERT_FORK_SERVER" in os.environ:
        return
    if len(list(workflow.dag.needrun_jobs())) < ENOUGH_JOBS:
        return
    path = os.path.join(tempfile.mkdtemp(prefix="spikebert-"), "socket")
    log = Path(f"{layout.work}/logs/fork_server.log")
    log.parent.mkdir(parents=True, exist_ok=True)
    with log.open("w") as file:
        workflow.globals["fork_server"] = subprocess.Popen(
            ["python", "-m", "spikebert.fork_server", path],
            stdin=subprocess.PIPE,
            stdout=file,
            stderr=file,
            env={**os.environ, "OMP_NUM_THREADS": "1"},
            start_new_session=True,
        )
    os.environ.update(SPIKEBERT_FORK_SERVER=path)
