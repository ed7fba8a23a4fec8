"""Snakemake and the stages without the seconds that Python takes to load them.

A server that has loaded everything forks a process for each command. Beside its socket lie two programs, `python` and
`snakemake`, which hand it their arguments, their environment and their terminal, and end as the process does.
"""

import json
import logging
import os
import signal
import socket
import subprocess
import sys
import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from tests.conftest import ROOT

CLIENT = f"""#!{sys.executable} -IS
import json, os, socket, sys
with socket.socket(socket.AF_UNIX) as server:
    server.connect(os.path.join(os.path.dirname(os.path.abspath(__file__)), "socket"))
    command = [os.path.basename(__file__), *sys.argv[1:]]
    socket.send_fds(server, [b"-"], [0, 1, 2])
    server.sendall(json.dumps([command, os.getcwd(), dict(os.environ)]).encode())
    server.shutdown(socket.SHUT_WR)
    status = server.recv(8)
sys.exit(int(status or 137))
"""


@contextmanager
def running_server(folder: Path) -> Iterator[dict[str, str]]:
    """Yield the environment in which `snakemake`, and the stages that it starts, are forks of a server.

    Args:
        folder: for the socket, whose path has 107 letters at most.
    """
    for name in ("python", "snakemake"):
        (folder / name).write_text(CLIENT)
        (folder / name).chmod(0o755)
    command = [sys.executable, "-m", "tests.workflow.forks", str(folder)]
    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, start_new_session=True) as server:
        try:
            assert server.stdout is not None
            assert server.stdout.readline() == b"ready\n"
            yield os.environ | {"PATH": os.pathsep.join((str(folder), os.environ["PATH"]))}
        finally:
            os.killpg(server.pid, signal.SIGKILL)


def serve(folder: Path) -> None:
    """Fork a process for each command that a client sends."""
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(str(folder / "socket"))
        server.listen(64)
        signal.signal(signal.SIGCHLD, signal.SIG_IGN)  # nobody waits for the forks
        print("ready", flush=True)
        while True:
            client, _ = server.accept()
            if not os.fork():
                signal.signal(signal.SIGCHLD, signal.SIG_DFL)
                server.close()
                _run(client, folder)
            client.close()


def _run(client: socket.socket, folder: Path) -> None:
    """Do in this process what a client asks for, and end it."""
    _, terminal, _, _ = socket.recv_fds(client, 1, 3)
    received = b"".join(iter(lambda: client.recv(1 << 16), b""))
    (program, *arguments), where, environment = json.loads(received)
    for number, descriptor in enumerate(terminal):
        os.dup2(descriptor, number)
        os.close(descriptor)
    os.chdir(where)
    os.environ.clear()
    os.environ.update(environment)
    sys.argv = [program, *arguments]
    sys.executable = str(folder / "python")
    status: Any = 0
    try:
        _PROGRAMS[program](arguments)
    except SystemExit as end:
        status = end.code
    except BaseException:
        traceback.print_exc()
        status = 1
    if isinstance(status, str):
        print(status, file=sys.stderr)
        status = 1
    logging.shutdown()
    sys.stdout.flush()
    sys.stderr.flush()
    client.sendall(str(status or 0).encode())
    os._exit(0)


def _python(arguments: list[str]) -> None:
    option, program, *rest = arguments
    if program == "snakemake":  # as jobs of a cluster start it
        assert option == "-m", arguments
        sys.argv = [program, *rest]
        snakemake.cli.main(rest)
    else:
        assert (option, program) == ("-P", str(ROOT / "virnucpro" / "__main__.py")), arguments
        cli.main.main(rest, prog_name="virnucpro")


if __name__ == "__main__":
    import snakemake.cli
    import snakemake.executors.local
    import snakemake.report

    from virnucpro import cli
    from virnucpro.pipeline import call, embed, fetch_model, merge, pack, prepare, report, summary, token_budget  # noqa: F401

    _PROGRAMS = {"python": _python, "snakemake": snakemake.cli.main}
    serve(Path(sys.argv[1]))
