"""Genes, GC and runs of N of single contigs, for the drawings of the page."""

import re
from collections import defaultdict
from collections.abc import Collection, Iterable, Mapping
from itertools import islice
from pathlib import Path
from typing import Any

import pandas as pd

from virnucpro.calling.result_files import UNKNOWN, encode
from virnucpro.data.records import read_contigs
from virnucpro.data.tables import read_table
from virnucpro.errors import UserError

MOST_WINDOWS = 5000  # of GC a contig
SHORTEST_WINDOW = 100  # bases
_RUN_OF_N = re.compile(rb"N{10,}")  # as long as what no gene is read across


def draw(output_dir: Path, fastas: Mapping[str, Path | None], rows: pd.DataFrame) -> dict[int, dict[str, Any]]:
    """Return the data for drawings of contigs, by the numbers of their rows.

    A sample without sequences has None for FASTA. Only the genes of its contigs are drawn.
    """
    drawn: dict[Any, dict[str, Any]] = {}
    for sample, of_sample in rows.groupby("sample"):
        lengths = dict(zip(of_sample["contig"], of_sample["length"], strict=True))
        folder = output_dir / str(sample)
        features = read_features([folder / "genes.gff3", folder / "regions.gff3"], lengths)
        regions = read_table(folder / "regions.tsv", "contig", "topology", "virus", "why", "border_evidence")
        borders = " Borders: " + regions["border_evidence"] + "."
        regions["why"] += borders.where(regions["border_evidence"] != "", "")
        proviruses = regions[regions["topology"] == "provirus"].groupby("contig")[["start", "end", "virus", "why"]]
        named = {name: found.to_numpy().tolist() for name, found in proviruses}
        fasta = fastas[str(sample)]
        composed = (
            read_composition(fasta, lengths)
            if fasta
            else {name: composition(UNKNOWN * length) for name, length in lengths.items()}
        )
        for number, name in of_sample["contig"].items():
            drawn[number] = {"gff3": features[name], "proviruses": named.get(name, [])} | composed[name]
    return {number: drawn[number] for number in rows.index.tolist()}


def read_features(files: Iterable[Path], names: Collection[str]) -> dict[str, str]:
    """Return the lines of contigs in genes.gff3 and regions.gff3 as one, by the contigs' names."""
    encoded = {encode(name): name for name in names}
    lines: defaultdict[str, list[str]] = defaultdict(list)
    for path in files:
        with path.open(encoding="utf-8") as file:
            for line in file:
                name = line.split(" ", 2)[1] if line.startswith("##sequence-region ") else line.partition("\t")[0]
                if name in encoded and line not in lines[encoded[name]][:2]:  # both files say how long, and if circular
                    lines[encoded[name]].append(line)
    return {name: "".join(["##gff-version 3\n", *lines[name]]) for name in names}


def read_composition(fasta: Path, lengths: Mapping[str, int]) -> dict[str, dict[str, Any]]:
    """Return the `composition` of contigs, by their names; the file is read until all are found.

    Raises:
        UserError: a contig is not there, or has another length.
    """
    found: dict[str, dict[str, Any]] = {}
    named = ((contig.name.decode(), contig.letters) for contig in read_contigs(fasta))
    wanted = ((name, letters) for name, letters in named if name in lengths)
    for name, letters in islice(wanted, len(lengths)):
        if len(letters) != lengths[name]:
            raise UserError(f"{fasta}: {name} has another length than in contigs.tsv; run the call stage again")
        found[name] = composition(letters)
    if missing := lengths.keys() - found.keys():
        raise UserError(f"{fasta}: no contig {min(missing)}, which contigs.tsv has; run the call stage again")
    return found


def composition(letters: bytes) -> dict[str, Any]:
    """Return the composition of a contig in upper-case DNA.

    Keys: `window`, bases a window; `gc`, count of G and C in each window; `known`, count of A, C, G and T in each
    window, empty if no other letter is there; `n`, beginnings and ends of runs of 10 or more N, from 0 and half-open.
    """
    window = max(SHORTEST_WINDOW, -(-len(letters) // MOST_WINDOWS))
    starts = range(0, len(letters), window)
    gc, at = (
        [sum(letters.count(base, start, start + window) for base in pair) for start in starts]
        for pair in (b"GC", b"AT")
    )
    known = [] if sum(gc) + sum(at) == len(letters) else [sum(counts) for counts in zip(gc, at, strict=True)]
    return {"window": window, "gc": gc, "known": known, "n": [list(run.span()) for run in _RUN_OF_N.finditer(letters)]}
