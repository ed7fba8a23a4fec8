"""Host ends of viral contigs: whole fragments of viruses, and fragments of phages joined with pieces of bacteria.

Takes the folder that `snakemake train` made, and fits the classifier again. Genes of training fragments have log-odds
of networks that have not seen their group.
"""

import argparse
from pathlib import Path

import numpy as np
import pandas as pd
from common import SEED, write_result

from virnucpro.calling.evidence import describe_groups
from virnucpro.calling.features import Features
from virnucpro.calling.regions import Region, without_host_ends
from virnucpro.data.tables import read_table
from virnucpro.proteins.table import read_proteins, spans_of
from virnucpro.training.recipe import Labelled, fit, label_fragments, log_odds_of

CALLED_FROM = 2.2  # log-odds: a posterior of 0.5 in a sample with 10 % viral contigs
LONG = 15_000  # bases of fragments that are joined
SHORTEST = 3_000  # bases of whole fragments
JOINED = 600  # artificial contigs for each share of the host
SHARES = (0.05, 0.1, 0.2, 0.3, 0.4)
NEAR = 2_000  # bases
CLASSES = {"2.2 to 4": (CALLED_FROM, 4.0), "over 4": (4.0, np.inf)}


def read_training(folder: Path) -> Labelled:
    """Return the labeled fragments of a training."""
    work = folder.absolute().parent / "work" / "training"
    proteins = describe_groups(read_proteins(work / "prepared"))
    features = Features(folder, work, proteins["protein"].tolist(), False)
    scores = read_table(folder / "classifier" / "scores.tsv", "fragment", "label", "group", "kind", "split")
    fragments = scores.set_index("fragment", drop=False).drop(columns=["log_odds", "score", "call"])
    taken = proteins["contig"].isin(fragments.index).to_numpy()
    return label_fragments(fragments, proteins[taken], features.rows(np.flatnonzero(taken)), 0)


def left_border(parts: list[pd.DataFrame]) -> tuple[int, int]:
    """Return the start of the virus in a contig of parts, end to end, and its true start, that of the last part."""
    moved, offset = [], 0
    for part in parts:
        border = offset
        moved.append(part.assign(start=part["start"] + offset, end=part["end"] + offset))
        offset += int(part["end"].max())
    genes = pd.concat(moved)
    whole = Region("c", 0, offset, len(genes), 0.9, "c")
    return without_host_ends(whole, genes, ()).start, border


def main() -> None:
    """Measure false and found ends, and write results/host_ends.md."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("training", type=Path, help="folder that snakemake train made, results/training")
    labelled = read_training(parser.parse_args().training)
    fitted = fit(labelled, 0)
    classifier = fitted.classifier(None)  # type: ignore[arg-type]
    of_proteins, of_fragments = log_odds_of(labelled, fitted, classifier)
    fragments, genes = labelled.fragments.assign(log_odds=of_fragments), labelled.proteins.assign(log_odds=of_proteins)
    spans = spans_of(genes["contig"])
    viral = fragments[(fragments["viral"] == 1) & (fragments["length"] >= SHORTEST) & fragments.index.isin(spans)]
    rows: list[tuple[str, ...]] = []
    for name, (lowest, highest) in CLASSES.items():
        chosen = viral[viral["log_odds"].between(lowest, highest, inclusive="left")]
        cut = 0
        for contig, length in chosen["length"].items():
            whole = Region(str(contig), 0, length, 0, 0.9, str(contig))
            cut += not without_host_ends(whole, genes.iloc[slice(*spans[str(contig)])], ()).is_whole
        rows.append((f"virus alone, log-odds {name}", f"{len(chosen)}", f"{cut / len(chosen):.1%}", "", ""))

    rng = np.random.default_rng(SEED)
    long = fragments[(fragments["length"] >= LONG) & fragments.index.isin(spans)]
    phages = long.index[long["kind"].isin(["phage", "archaeal virus"]) & (long["log_odds"] > 0)].to_numpy()
    bacteria = long.index[long["kind"] == "bacteria"].to_numpy()
    for share in SHARES:
        errors, cut, called = [], 0, 0
        for _ in range(JOINED):
            phage, host = (genes.iloc[slice(*spans[rng.choice(names)])] for names in (phages, bacteria))
            wanted = share / (1 - share) * phage["end"].max()
            host = host.iloc[: max(1, int((host["end"] <= wanted).sum()))]
            log_odds = pd.concat([host, phage])["log_odds"].to_numpy(np.float64)
            if log_odds.clip(-4, 4).sum() <= 0:  # not called viral
                continue
            start, border = left_border([host, phage])
            called += 1
            cut += start > 0
            errors.append(abs(start - border))
        near = np.mean(np.array(errors) <= NEAR)
        cells = (f"{called}", f"{cut / called:.0%}", f"{np.median(errors):,.0f}", f"{near:.0%}")
        rows.append((f"phage with {share:.0%} host", *cells))
    header = ("contigs", "number", "end left out", "border error, bp", "within 2 kb")
    note = (
        "Genes have cross-fitted log-odds. A virus alone has no host end, so that each one left out is false. The host "
        "is a piece of a bacterial fragment at the left. The border error is the median."
    )
    write_result("host_ends", "Host ends of viral contigs", header, rows, note)


if __name__ == "__main__":
    main()
