"""Calls of viral contigs beside geNomad's network and Jaeger, on the test groups of a training.

Takes the folder that `snakemake train` made. The peers are installed from PyPI into environments of their own,
beside this file, where they are not there yet.
"""

import argparse
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np
import pandas as pd
from common import SEED, write_result

from virnucpro.data.fasta import read_fasta
from virnucpro.training.evaluation import CLASSES, class_of_length, compare_auroc, evaluate

HERE = Path(__file__).parent
PEERS = {
    "geNomad": ["genomad==1.13.0", "tensorflow-cpu==2.21.0"],
    "Jaeger": ["jaeger-bio[cpu]==1.26.5"],
}


def program(peer: str) -> Path:
    """Return the program of a peer, installed where it is not yet."""
    environment = HERE / f".venv-{peer.lower()}"
    if not (environment / ".installed").exists():
        subprocess.run([sys.executable, "-m", "venv", environment], check=True)
        subprocess.run([environment / "bin" / "pip", "install", "--quiet", *PEERS[peer]], check=True)
        (environment / ".installed").touch()
    return environment / "bin" / peer.lower()


def read_genomad(folder: Path) -> pd.DataFrame:
    """Return the log-odds and calls of geNomad's network: viral where that is its highest score."""
    table = pd.read_csv(next(folder.glob("*/*_nn_classification.tsv")), sep="\t", index_col="seq_name")
    virus = table["virus_score"].clip(1e-6, 1 - 1e-6)
    call = np.where(table.idxmax(axis=1) == "virus_score", "viral", "cellular")
    return pd.DataFrame({"log_odds": np.log(virus / (1 - virus)), "call": call}, index=table.index)


def read_jaeger(folder: Path) -> pd.DataFrame:
    """Return the scores and calls of Jaeger, which knows phages: its phage score over the highest of the others."""
    (path,) = (path for path in folder.rglob("*_jaeger.tsv") if "phages_jaeger" not in path.name)
    table = pd.read_csv(path, sep="\t", index_col="contig_id")
    others = table[[f"{name}_score" for name in ("bacteria", "eukarya", "archaea")]].max(axis=1)
    call = np.where(table["prediction"] == "phage", "viral", "cellular")
    return pd.DataFrame({"log_odds": table["phage_score"] - others, "call": call}, index=table.index)


def genomad(fasta: Path, folder: Path) -> pd.DataFrame:
    """Run geNomad's network, and return its log-odds and calls."""
    command: list[str | Path] = [program("geNomad"), "nn-classification", fasta, folder, "--threads", "2"]
    subprocess.run(command, check=True, capture_output=True)
    return read_genomad(folder)


def jaeger(fasta: Path, folder: Path) -> pd.DataFrame:
    """Run Jaeger, and return its scores and calls."""
    command: list[str | Path] = [
        program("Jaeger"),
        "predict",
        "-i",
        fasta,
        "-o",
        folder,
        "--cpu",
        "--workers",
        "2",
        "--min-len",
        "500",
    ]
    subprocess.run(command, check=True, capture_output=True)
    return read_jaeger(folder)


PROKARYOTIC = ("phage", "archaeal virus", "bacteria", "archaea", "plasmid")
OF_A_GROUP = 4  # fragments at most, so that no group weighs much more than another, and the peers take minutes


def main() -> None:
    """Run the peers and write results/calls.md."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("training", type=Path, help="folder that snakemake train made, results/training")
    folder = parser.parse_args().training
    fragments = folder.absolute().parent / "work" / "training" / "fragments.fna.gz"
    scores = pd.read_csv(folder / "classifier" / "scores.tsv", sep="\t", index_col="fragment")
    test = scores[scores["split"] == "test"].assign(viral=lambda table: (table["label"] == "viral").astype(int))
    test = test.sample(frac=1, random_state=SEED).groupby("group").head(OF_A_GROUP).sort_index()
    found = {"virnucpro": test}
    for peer in PEERS:
        program(peer)
    with tempfile.TemporaryDirectory() as temporary:
        fasta = Path(temporary) / "test.fasta"
        records = ((name, sequence) for name, sequence in read_fasta(fragments) if name in test.index)
        fasta.write_text("".join(f">{name}\n{sequence}\n" for name, sequence in records))
        for name, run in {"geNomad": genomad, "Jaeger": jaeger}.items():
            calls = run(fasta, Path(temporary) / name).reindex(test.index)
            # A contig that a peer leaves out counts as not called, and ranks last.
            calls["log_odds"] = calls["log_odds"].fillna(calls["log_odds"].min() - 1)
            found[name] = test.assign(**calls.fillna("unresolved"))
    parts = {"all": test["length"] > 0, "phages and archaeal viruses": test["kind"].isin(PROKARYOTIC)}
    parts |= {name: class_of_length(test["length"]) == name for name in CLASSES}
    rows = [
        (part, name, *describe(evaluate(table[chosen])), ahead_of(found["virnucpro"][chosen], table[chosen]))
        for part, chosen in parts.items()
        for name, table in found.items()
    ]
    header = ("contigs", "", "viral", "cellular", "AUROC", "viral found", "cellular called viral", "not called")
    title = "Calls of contigs of groups held out, with 95 % intervals by resampled groups"
    write_result("calls", title, (*header, "found at 1.7 % false", "AUROC of virnucpro less this, paired"), rows)


def ahead_of(own: pd.DataFrame, peer: pd.DataFrame) -> str:
    """Return by how much the AUROC of virnucpro exceeds that of a peer on the same contigs."""
    if own is peer or own["log_odds"].equals(peer["log_odds"]):
        return ""
    return "{value:+.3f} ({low:+.3f} to {high:+.3f})".format_map(
        compare_auroc(own, own["log_odds"].to_numpy(), peer["log_odds"].to_numpy())
    )


def describe(metrics: dict[str, dict[str, float]]) -> tuple[str, ...]:
    """Return the cells of a row."""

    def cell(name: str, scale: float, digits: int) -> str:
        value, low, high = (f"{scale * metrics[name][key]:.{digits}f}" for key in ("value", "low", "high"))
        return f"{value} ({low} to {high})"

    shares = (f"{cell(name, 100, 1)} %" for name in ("found", "false", "unresolved"))
    at = f"{100 * metrics['found_at']['0.017']:.1f} %"
    return (str(metrics["viral"]), str(metrics["cellular"]), cell("auroc", 1, 3), *shares, at)


if __name__ == "__main__":
    main()
