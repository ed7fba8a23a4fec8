"""CPU time, memory and disk of a whole run, beside geNomad's network and Jaeger on the same contigs."""

import argparse
import math
import os
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np
from calls import program
from common import SEED, write_result

from virnucpro.data.fasta import read_fasta

SHORTEST, LONGEST = 1_000, 40_000  # of contigs, log-uniform
REPEATS = 2


def cost(command: list[str | Path]) -> tuple[float, float]:
    """Return the CPU seconds of a command with its children, and the peak memory of its largest process in GB."""
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    _, status, usage = os.wait4(process.pid, 0)
    if status:
        raise SystemExit(f"failed: {' '.join(map(str, command))}")
    return usage.ru_utime + usage.ru_stime, usage.ru_maxrss * 1024 / 1e9


def size(folder: Path) -> float:
    """Return the size of a folder's files in MB."""
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file()) / 1e6


def main() -> None:
    """Cut genomes into contigs, run the three programs, and write results/cost.md."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("genome", type=Path, help="FASTA; every record is cut into contigs of 1 to 40 kb")
    genome = parser.parse_args().genome
    rows: list[tuple[str, ...]] = []
    random = np.random.default_rng(SEED)
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        fasta, bases = folder / "contigs.fna", 0
        with fasta.open("w") as file:
            for name, sequence in read_fasta(genome):
                bases += len(sequence)
                start = 0
                while start < len(sequence):
                    length = int(math.exp(random.uniform(math.log(SHORTEST), math.log(LONGEST))))
                    file.write(f">{name}_{start}\n{sequence[start : start + length]}\n")
                    start += length
        commands: dict[str, list[str | Path]] = {
            "virnucpro run": [sys.executable, "-m", "virnucpro", "run", fasta, "--outdir"],
            "geNomad nn-classification": [program("geNomad"), "nn-classification", "--threads", "2", fasta],
            "Jaeger predict": [program("Jaeger"), "predict", "--cpu", "--workers", "2", "-i", fasta, "-o"],
        }
        costs: dict[str, list[tuple[float, float]]] = {name: [] for name in commands}
        for repeat in range(REPEATS):
            for name, command in commands.items():
                outdir = folder / f"{name.split()[0]}_{repeat}"
                costs[name].append(cost([*command, outdir]))
        for name, measured in costs.items():
            seconds, memory = map(min, zip(*measured, strict=True))
            disk = size(folder / f"{name.split()[0]}_0")
            mbp_an_hour = bases / 1e6 / seconds * 3600
            rows.append((name, f"{seconds:.0f}", f"{mbp_an_hour:.0f}", f"{memory:.2f}", f"{disk:.0f}"))
    write_result(
        "cost",
        "What a run costs",
        ("program", "CPU seconds", "Mbp an hour of one core", "peak memory of a process, GB", "results, MB"),
        rows,
        f"{genome.name}, {bases:,} bases in contigs of {SHORTEST:,} to {LONGEST:,}. "
        "virnucpro finds genes, embeds them in FP32, calls, "
        "names and writes the page. geNomad runs its network alone, and Jaeger predicts; each uses two threads. "
        f"The least of {REPEATS} interleaved runs.",
    )


if __name__ == "__main__":
    main()
