"""Proviruses in genomes whose prophages were curated by hand, beside PhiSpy and Jaeger.

Usage: PYTHONPATH=. python benchmarks/regions.py PROPHAGES WORK [--plasmids FASTA] [--phispy PATH] [--jaeger PATH]

PROPHAGES holds host_*.fa.gz and prophages.tsv (file, start, end; from linsalrob/ProphagePredictionComparisons and
PhiSpy); WORK keeps what is made, and what is there is taken. Each genome is segmented by a chain that was fitted to the
others, and its borders are refined with weights that were fitted to the others. Two cores need about 40 minutes for 36
Mbp by virnucpro, and an hour by Jaeger.
"""

import argparse
import csv
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pandas as pd
from Bio import SeqIO
from Bio.Seq import Seq
from Bio.SeqFeature import SeqFeature, SimpleLocation
from Bio.SeqRecord import SeqRecord
from scipy.optimize import minimize
from sklearn.linear_model import LogisticRegression

from benchmarks.borders import Genome, Span, candidates, describe_borders, fit_borders, refine, shared
from benchmarks.common import write_result
from virnucpro.calling.evidence import describe_groups
from virnucpro.calling.features import Features
from virnucpro.calling.regions import CHAIN, LEAST_SCORE, Chain, Region, evidence_of_genes, find_regions
from virnucpro.data.fasta import read_fasta
from virnucpro.naming.borders import find_integrases
from virnucpro.naming.sample import choose_heads
from virnucpro.proteins.table import read_proteins

LONG = 10_000  # bases of the prophages that the bar is about


def run_virnucpro(fastas: Sequence[Path], outdir: Path) -> None:
    """Call the contigs of files, each a sample, unless that is done."""
    if len(list(outdir.glob("*/genes.tsv"))) < len(fastas):
        command = [sys.executable, "-m", "virnucpro", "run", *map(str, fastas), "--outdir", str(outdir), "--no-report"]
        subprocess.run(command, check=True)


def read_genomes(folder: Path, results: Path) -> list[Genome]:
    """Return the genomes that virnucpro has called, with their curated prophages."""
    curated = pd.read_csv(folder / "prophages.tsv", sep="\t")
    genomes = []
    for fasta in sorted(folder.glob("host_*.fa.gz")):
        name = fasta.name.removesuffix(".fa.gz")
        sample, work = results / name, results / "work" / name
        proteins = describe_groups(read_proteins(work / "prepared"))
        features = Features(sample, work, proteins["protein"].tolist(), False)
        probable = find_integrases(proteins, features, choose_heads(None, features))(np.arange(len(proteins)))
        log_odds = pd.read_csv(sample / "genes.tsv", sep="\t")["log_odds"]
        genes = proteins.assign(log_odds=log_odds, integrase=probable)
        (contig,) = pd.read_csv(sample / "contigs.tsv", sep="\t").itertuples()
        rows = curated[curated["file"] == fasta.name]
        spans = [(start - 1, end) for start, end in zip(rows["start"], rows["end"], strict=True)]
        genomes.append(Genome(fasta.name, fasta, contig.length, genes, spans))
    return genomes


def labels(genome: Genome) -> npt.NDArray[np.int64]:
    """Return which genes lie, by their middles, in a prophage."""
    middle = (genome.genes["start"] + genome.genes["end"]) / 2
    inside = [middle.between(*span).to_numpy().astype(np.int64) for span in genome.prophages]
    return np.asarray(np.sum(inside, axis=0), np.int64)


def fit_chain(genomes: Sequence[Genome]) -> Chain:
    """Return the chain under which the curated states are likeliest, given the log-odds (Lafferty et al. 2001)."""
    data = [(genome.genes["log_odds"].to_numpy(np.float64), labels(genome)) for genome in genomes]

    def loss(values: npt.NDArray[np.float64]) -> float:
        chain = Chain(values[0], values[1], *np.exp(values[2:]))
        total = 0.01 * float(np.square(values).sum())
        for log_odds, states in data:
            evidence = evidence_of_genes(log_odds, chain)
            changes = np.diff(states)
            path = (evidence * states).sum() + (changes == 1).sum() * values[2] + (changes == -1).sum() * values[3]
            total += log_of_all_paths(evidence, values[2], values[3]) - path
        return total

    start = [CHAIN.weight, CHAIN.bias, *np.log(CHAIN[2:])]
    found = minimize(loss, start, method="Nelder-Mead", options={"maxiter": 400, "xatol": 1e-2, "fatol": 0.1})
    return Chain(found.x[0], found.x[1], *np.exp(found.x[2:]))


def log_of_all_paths(evidence: npt.NDArray[np.float64], enter: float, leave: float) -> float:
    """Return the logarithm of the summed weights of all ways to divide a genome."""
    host, virus = 0.0, evidence[0]
    for one in evidence[1:]:
        host, virus = np.logaddexp(host, virus + leave), np.logaddexp(host + enter, virus) + one
    return float(np.logaddexp(host, virus))


def segment(genome: Genome, chain: Chain, least_score: float = LEAST_SCORE) -> list[Region]:
    """Return the proviruses of a genome."""
    calls = pd.DataFrame({"contig": [genome.genes["contig"].iloc[0]], "length": [genome.length], "call": ["cellular"]})
    calls = calls.assign(genes=len(genome.genes), score=["0"])
    return next(iter(find_regions(calls, genome.genes, chain, least_score).values()), [])


def run_phispy(genome: Genome, phispy: Path, folder: Path) -> list[Span]:
    """Run PhiSpy on a GenBank file with the genes that virnucpro found."""
    folder.mkdir(parents=True, exist_ok=True)
    output = folder / "out" / "prophage_coordinates.tsv"
    if not output.exists():
        ((name, sequence),) = read_fasta(genome.fasta)
        record = SeqRecord(Seq(sequence), id=name, name=name, annotations={"molecule_type": "DNA"})
        for gene in genome.genes.itertuples():
            location = SimpleLocation(gene.start, min(gene.end, len(sequence)), 1 if gene.strand == "+" else -1)
            translation = str(location.extract(record.seq).translate(11)).rstrip("*")
            qualifiers = {
                "locus_tag": [gene.protein],
                "product": ["hypothetical protein"],
                "translation": [translation],
            }
            record.features.append(SeqFeature(location, type="CDS", qualifiers=qualifiers))
        SeqIO.write(record, folder / "genome.gbk", "genbank")
        # No gene is named here, and it would drop regions in which none is named as a phage's.
        command = [phispy, folder / "genome.gbk", "-o", folder / "out", "--output_choice", "1", "--phage_genes", "0"]
        subprocess.run(list(map(str, command)), check=True, stdout=subprocess.DEVNULL)
    if not output.read_text().strip():
        return []
    with output.open(newline="") as file:
        return [(int(row[2]) - 1, int(row[3])) for row in csv.reader(file, delimiter="\t")]


def run_jaeger(genome: Genome, jaeger: Path, folder: Path) -> list[Span]:
    """Run Jaeger's search for prophages."""
    folder.mkdir(parents=True, exist_ok=True)
    done = folder / "done"
    if not done.exists():
        with (folder / "genome.fa").open("w") as file:
            file.writelines(f">{name}\n{sequence}\n" for name, sequence in read_fasta(genome.fasta))
        command = [jaeger, "predict", "-i", folder / "genome.fa", "-o", folder / "out", "-p", "--cpu", "--workers", "2"]
        subprocess.run(list(map(str, command)), check=True, stdout=subprocess.DEVNULL)
        done.touch()
    found = [pd.read_csv(table, sep="\t") for table in folder.glob("out/**/*prophages_jaeger.tsv")]
    return [(int(row.sstart), int(row.eend)) for table in found for row in table.itertuples()]


def evaluate(genomes: Sequence[Genome], regions_of: dict[str, list[Span]]) -> dict[str, float]:
    """Return how many of the prophages of 10 kb and more are found, half of each covered, and what else is called."""
    long = found = bases = inside = unlisted = regions = touching = 0
    errors: list[int] = []
    for genome in genomes:
        spans = regions_of[genome.name]
        regions += len(spans)
        bases += sum(end - start for start, end in spans)
        inside += sum(shared(region, prophage) for region in spans for prophage in genome.prophages)
        touches = [any(shared(region, prophage) for prophage in genome.prophages) for region in spans]
        touching += sum(touches)
        unlisted += len(touches) - sum(touches)
        for prophage in genome.prophages:
            over = [region for region in spans if shared(region, prophage)]
            covered = sum(shared(region, prophage) for region in over) >= (prophage[1] - prophage[0]) / 2
            if prophage[1] - prophage[0] >= LONG:
                long += 1
                found += covered
            if covered:
                errors += [abs(min(over)[0] - prophage[0]), abs(max(end for _, end in over) - prophage[1])]
    outside = sum(genome.length for genome in genomes) - sum(
        end - start for genome in genomes for start, end in genome.prophages
    )
    return {
        "long": long,
        "found": found,
        "base_precision": inside / max(bases, 1),
        "region_precision": touching / max(regions, 1),
        "unlisted": unlisted / len(genomes),
        "false_per_mbp": unlisted / outside * 1e6,
        "error": float(np.median(errors)) if errors else float("nan"),
    }


def fit_score(
    genomes: Sequence[Genome], regions: dict[str, list[Region]], chains: dict[str, Chain]
) -> tuple[float, float]:
    """Return weight and bias of the logistic regression of being half in a prophage over a region's evidence."""
    inputs, true = [], []
    for genome in genomes:
        evidence = evidence_of_genes(genome.genes["log_odds"].to_numpy(np.float64), chains[genome.name])
        for region in regions[genome.name]:
            within = (genome.genes["start"] >= region.start) & (genome.genes["end"] <= region.end)
            inputs.append([evidence[within].sum()])
            covered = sum(shared((region.start, region.end), prophage) for prophage in genome.prophages)
            true.append(covered >= (region.end - region.start) / 2)
    fitted = LogisticRegression().fit(inputs, true)
    return float(fitted.coef_[0, 0]), float(fitted.intercept_[0])


def describe_unlisted(genomes: Sequence[Genome], regions: dict[str, list[Region]]) -> str:
    """Return where regions lie that touch no prophage."""
    lines = []
    for genome in genomes:
        for region in regions[genome.name]:
            span = (region.start, region.end)
            if not any(shared(span, prophage) for prophage in genome.prophages):
                where = f"{region.contig}:{region.start + 1}-{region.end}"
                lines.append(f"{where} ({region.genes} genes, score {region.score:.2f})")
    return "Regions that touch no curated prophage: " + ("; ".join(lines) or "none") + "."


def main() -> None:
    """Run what is asked for, and write the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("prophages", type=Path)
    parser.add_argument("work", type=Path)
    parser.add_argument("--plasmids", type=Path)
    parser.add_argument("--phispy", type=Path)
    parser.add_argument("--jaeger", type=Path)
    given = parser.parse_args()
    run_virnucpro(sorted(given.prophages.glob("host_*.fa.gz")), given.work / "virnucpro")
    genomes = read_genomes(given.prophages, given.work / "virnucpro")
    chains = {one.name: fit_chain([other for other in genomes if other is not one]) for one in genomes}
    unrefined = {one.name: segment(one, chains[one.name]) for one in genomes}
    cases = {one.name: candidates(one, unrefined[one.name]) for one in genomes}
    weights = {
        one.name: fit_borders([case for other in genomes if other is not one for case in cases[other.name]])
        for one in genomes
    }
    regions = {one.name: refine(one, unrefined[one.name], weights[one.name]) for one in genomes}
    spans = {name: [(region.start, region.end) for region in found] for name, found in regions.items()}
    of_chain = {name: [(region.start, region.end) for region in found] for name, found in unrefined.items()}
    tools = {"virnucpro": spans, "its chain alone": of_chain}
    if given.phispy:
        started = time.monotonic()
        tools["PhiSpy"] = {one.name: run_phispy(one, given.phispy, given.work / "phispy" / one.name) for one in genomes}
        print(f"PhiSpy: {time.monotonic() - started:.0f} s")
    if given.jaeger:
        tools["Jaeger"] = {one.name: run_jaeger(one, given.jaeger, given.work / "jaeger" / one.name) for one in genomes}
    rows = []
    for tool, found in tools.items():
        result = evaluate(genomes, found)
        rows.append(
            (
                tool,
                f"{result['found']:.0f} of {result['long']:.0f}",
                f"{result['base_precision']:.0%}",
                f"{result['region_precision']:.0%}",
                f"{result['unlisted']:.1f}",
                f"{result['false_per_mbp']:.2f}",
                f"{result['error']:,.0f}",
            )
        )
    unscored = {one.name: segment(one, chains[one.name], least_score=0) for one in genomes}
    weight, bias = fit_score(genomes, unscored, chains)
    whole = fit_chain(genomes)
    fitted = ", ".join(f"{name} {value:.4f}" for name, value in whole._asdict().items())
    all_borders = fit_borders([case for found in cases.values() for case in found])
    borders = ", ".join(f"{name} {value:.2f}" for name, value in all_borders._asdict().items())
    notes = [
        "virnucpro: each genome by a chain fitted to the others. "
        f"Fitted to all: {fitted}; of the score {weight:.3f}, {bias:.2f}; of borders {borders}.",
        describe_unlisted(genomes, regions),
        describe_borders(genomes, regions),
    ]
    if given.plasmids:
        run_virnucpro([given.plasmids], given.work / "plasmids")
        (contigs,) = (given.work / "plasmids").glob("*/contigs.tsv")
        called = pd.read_csv(contigs, sep="\t")
        notes.append(
            f"Plasmids: {called['proviruses'].sum()} proviruses and {(called['call'] == 'viral').sum()} viral calls in "
            f"{len(called)} of {called['length'].sum() / 1e6:.1f} Mbp."
        )
    header = ("", "found", "bases", "regions", "unlisted a genome", "unlisted a Mbp", "border error, bp")
    write_result("regions", "Proviruses", header, rows, " ".join(notes))


if __name__ == "__main__":
    main()
