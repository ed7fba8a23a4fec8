"""How long a whole run takes that reads contigs as genes, and one that reads them as frames of 500 bp."""

import argparse
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from common import write_result

from virnucpro.data.fasta import read_fasta

REPEATS = 3
RUNS = {
    "genes, called, with report": [],
    "genes, embedded": ["--no-call"],
    "frames of 500 bp, embedded": ["--no-call", "--proteins", "frames"],
}


def main() -> None:
    """Write results/genes_and_frames.md."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("fasta", type=Path, nargs="+", help="contigs, each file a sample")
    fastas = parser.parse_args().fasta
    bases = sum(len(sequence) for fasta in fastas for _, sequence in read_fasta(fasta))
    times: dict[str, list[float]] = {name: [] for name in RUNS}
    for _ in range(REPEATS):
        for name, options in RUNS.items():
            outdir = Path(tempfile.mkdtemp())
            start = time.perf_counter()
            command = [sys.executable, "-m", "virnucpro", "run", *fastas, "--outdir", outdir, *options]
            subprocess.run(command, check=True)
            times[name].append(time.perf_counter() - start)
            shutil.rmtree(outdir)
    rows = [
        (
            name,
            f"{statistics.median(taken):.1f}",
            f"{min(taken):.1f} to {max(taken):.1f}",
            f"{bases / statistics.median(taken):,.0f}",
        )
        for name, taken in times.items()
    ]
    note = f"{bases:,} bases in {len(fastas)} samples, the 8M encoder; medians of {REPEATS} interleaved whole runs."
    write_result(
        "genes_and_frames",
        "Whole runs over genes and over frames",
        ("proteins", "seconds", "from, to", "bases a second"),
        rows,
        note,
    )


if __name__ == "__main__":
    main()
