"""Whether a piece of a contig gets the call of the whole: pieces of test fragments, called by themselves.

Takes the folder that `snakemake train` made, whose scores.tsv has the calls of the whole fragments.
"""

import argparse
import math
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np
import pandas as pd
from common import SEED, write_result

from virnucpro.data.fasta import read_fasta
from virnucpro.training.evaluation import SHORTEST, proportion

LONG = 10_000  # bases of a fragment that pieces are cut out of
LENGTHS = {"1.5 to 3 kb": (SHORTEST, 3_000), "3 to 10 kb": (3_000, LONG + 1), "all": (SHORTEST, LONG + 1)}


def main() -> None:
    """Cut, call, and write results/cut_contigs.md."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("training", type=Path, help="folder that snakemake train made, results/training")
    folder = parser.parse_args().training
    fragments = folder.absolute().parent / "work" / "training" / "fragments.fna.gz"
    classifier = folder / "classifier" / "classifier.safetensors"
    scores = pd.read_csv(folder / "classifier" / "scores.tsv", sep="\t", index_col="fragment")
    whole = scores[(scores["split"] == "test") & (scores["length"] >= LONG)]
    rng = np.random.default_rng(SEED)
    with tempfile.TemporaryDirectory() as temporary:
        fasta = Path(temporary) / "pieces.fna"
        with fasta.open("w") as file:
            for name, sequence in read_fasta(fragments):
                if name in whole.index:
                    length = round(math.exp(rng.uniform(math.log(SHORTEST), math.log(LONG))))
                    start = int(rng.integers(len(sequence) - length + 1))
                    file.write(f">{name}\n{sequence[start : start + length]}\n")
        command = [sys.executable, "-m", "virnucpro", "run", fasta, "--outdir", Path(temporary) / "results"]
        subprocess.run([*command, "--classifier", classifier, "--no-report"], check=True)
        pieces = pd.read_csv(Path(temporary) / "results" / "pieces" / "contigs.tsv", sep="\t", index_col="contig")
    pieces = pieces.join(whole[["call", "label"]].rename(columns={"call": "call_of_whole"}))
    rows = []
    for name, (low, high) in LENGTHS.items():
        cut = pieces[pieces["length"].between(low, high, inclusive="left")]
        sure = cut[(cut["call"] != "unresolved") & (cut["call_of_whole"] != "unresolved")]
        agree = proportion((sure["call"] == sure["call_of_whole"]).to_numpy())
        share = "{value:.1%} ({low:.1%} to {high:.1%})".format(**agree)
        of_label = (
            f"{(rows_of['call'] == rows_of['call_of_whole']).mean():.1%}"
            for rows_of in (sure[sure["label"] == label] for label in ("viral", "cellular"))
        )
        rows.append((name, str(len(cut)), str(len(sure)), share, *of_label))
    header = ("pieces", "", "both sure", "same call", "of viral", "of cellular")
    note = f"A piece of each test fragment of {LONG:,} bases and more, at a random place; lengths are log-uniform."
    write_result("cut_contigs", "A piece of a contig and the whole, with 95 % intervals", header, rows, note)


if __name__ == "__main__":
    main()
