"""Speed, cost and accuracy of a whole run, beside geNomad's network and Jaeger on the same contigs and cores.

Takes the folder that `snakemake train` made: the contigs are fragments of its test groups. In the first assembly a
tenth of all bases is viral. The others show how the speed of virnucpro depends on this share.
"""

import argparse
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pandas as pd
from calls import program, read_genomad, read_jaeger
from common import SEED, write_result
from sklearn.metrics import roc_auc_score

from virnucpro.calling.calls import score_by_proteins
from virnucpro.calling.classifier import load_classifier
from virnucpro.calling.evidence import describe_groups
from virnucpro.calling.requirements import DEFAULT
from virnucpro.data.fasta import read_fasta
from virnucpro.proteins.table import read_proteins
from virnucpro.training.evaluation import found_at

SHORTEST = 1_000  # bases of a fragment
MOST = 3_000_000  # bases of an assembly
SHARES = (0.1, 0.02, 0.5)  # viral bases in an assembly
REPEATS = 2
VIRNUCPRO = [sys.executable, "-m", "virnucpro", "run"]


class Cost(NamedTuple):
    """Wall and CPU seconds of a command with its children, and the peak memory of its largest process in GB."""

    wall: float
    cpu: float
    memory: float


def cost(command: Sequence[str | Path]) -> Cost:
    """Run a command and return its cost."""
    start = time.monotonic()
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    _, status, usage = os.wait4(process.pid, 0)
    if status:
        raise SystemExit(f"failed: {' '.join(map(str, command))}")
    return Cost(time.monotonic() - start, usage.ru_utime + usage.ru_stime, usage.ru_maxrss * 1024 / 1e9)


def size(folder: Path) -> float:
    """Return the size of a folder's files in MB."""
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file()) / 1e6


def draw_assembly(fragments: pd.DataFrame, share: float) -> pd.DataFrame:
    """Return random cellular and viral fragments of at most 3 Mbp, of which a share of the bases is viral."""
    shuffled = fragments.sample(frac=1, random_state=SEED)
    bases = fragments.groupby("label")["length"].sum()
    total = min(MOST, bases["viral"] / share, bases["cellular"] / (1 - share))
    wanted = {"viral": share * total, "cellular": (1 - share) * total}
    return pd.concat(rows[rows["length"].cumsum() <= wanted[str(label)]] for label, rows in shuffled.groupby("label"))


def read_virnucpro(folder: Path) -> pd.DataFrame:
    """Return the log-odds of contigs by virnucpro, without its known viruses: the test groups are among them."""
    called = next(folder.glob("*/contigs.tsv")).parent
    proteins = describe_groups(read_proteins(folder / "work" / called.name / "prepared"))
    log_odds = pd.read_csv(called / "genes.tsv", sep="\t")["log_odds"].to_numpy(np.float64)
    lengths = pd.read_csv(called / "contigs.tsv", sep="\t", index_col="contig")["length"]
    return score_by_proteins(load_classifier(DEFAULT), proteins, log_odds, lengths)


def accuracy(assembly: pd.DataFrame, log_odds: pd.Series) -> tuple[str, str]:
    """Return the AUROC, and the viral contigs found at 1.7 % false; contigs that a program leaves out rank last."""
    viral, found = assembly["label"].eq("viral").to_numpy(np.int64), log_odds.reindex(assembly.index)
    ranked = found.fillna(found.min() - 1).to_numpy(float)
    return f"{roc_auc_score(viral, ranked):.3f}", f"{found_at(0.017, ranked, viral):.0%}"


def main() -> None:
    """Run the programs and write results/finders.md."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("training", type=Path, help="folder that snakemake train made, results/training")
    folder = parser.parse_args().training
    scores = pd.read_csv(folder / "classifier" / "scores.tsv", sep="\t", index_col="fragment")
    fragments = scores[(scores["split"] == "test") & (scores["length"] >= SHORTEST)]
    sequences = dict(read_fasta(folder.absolute().parent / "work" / "training" / "fragments.fna.gz"))
    programs: dict[str, tuple[Callable[[Path, Path], list[str | Path]], Callable[[Path], pd.DataFrame]]] = {
        "virnucpro": (lambda fasta, out: [*VIRNUCPRO, fasta, "--outdir", out], read_virnucpro),
        "virnucpro --screen none": (
            lambda fasta, out: [*VIRNUCPRO, fasta, "--screen", "none", "--outdir", out],
            read_virnucpro,
        ),
        "geNomad nn-classification": (
            lambda fasta, out: [program("geNomad"), "nn-classification", "--threads", "2", fasta, out],
            read_genomad,
        ),
        "Jaeger predict": (
            lambda fasta, out: [program("Jaeger"), "predict", "--cpu", "--workers", "2", "-i", fasta, "-o", out],
            read_jaeger,
        ),
    }
    rows: list[tuple[str, ...]] = []
    with tempfile.TemporaryDirectory() as temporary:
        for share in SHARES:
            assembly = draw_assembly(fragments, share)
            fasta = Path(temporary) / f"{share:g}.fna"
            fasta.write_text("".join(f">{name}\n{sequences[name]}\n" for name in assembly.index))
            chosen = programs if share == SHARES[0] else {"virnucpro": programs["virnucpro"]}
            costs: dict[str, list[Cost]] = {name: [] for name in chosen}
            for repeat in range(REPEATS):
                for name, (command, _) in chosen.items():
                    costs[name].append(cost(command(fasta, Path(temporary) / f"{share:g} {name} {repeat}")))
            megabases = assembly["length"].sum() / 1e6
            for name, (_, read) in chosen.items():
                outdir = Path(temporary) / f"{share:g} {name} 0"
                best = Cost(*map(min, zip(*costs[name], strict=True)))
                speed = (f"{megabases / best.wall * 60:.1f}", f"{best.cpu / 3600 / megabases * 1000:.1f}")
                used = (f"{best.wall:.0f}", f"{best.cpu:.0f}", *speed, f"{best.memory:.2f}", f"{size(outdir):.0f}")
                of = f"{megabases:.2f} Mbp, {share:.0%} viral"
                rows.append((name, of, *used, *accuracy(assembly, read(outdir)["log_odds"])))
    header = ("program", "contigs", "wall s", "CPU s", "Mbp a minute", "CPU hours a Gbp", "memory, GB", "results, MB")
    note = (
        "Contigs are fragments of 1 to 40 kb of the test groups, with a share of viral bases. virnucpro finds genes, "
        "embeds, calls, names and writes the page. geNomad runs its network alone, and Jaeger predicts. Each has two "
        f"cores. The least of {REPEATS} interleaved runs. Memory is of the largest process. Accuracy of virnucpro is "
        "without its known viruses."
    )
    write_result("finders", "Finders from FASTA to calls", (*header, "AUROC", "found at 1.7 % false"), rows, note)


if __name__ == "__main__":
    main()
