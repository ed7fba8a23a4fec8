"""Targets of fuzz.py: readers of the package, and real small files for them."""

import gzip
import json
import random
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import torch
import yaml
from fuzz_changes import (
    DEMO,
    SEEDS,
    change_cells,
    change_config,
    change_hdf5,
    change_json,
    change_lines,
    change_npz,
    change_pth,
    change_safetensors,
)
from safetensors.numpy import load, save

from tests.calling.original import random_classifier, save_as_original
from tests.data.test_embeddings import DESCRIPTION
from tests.data.test_manifest import manifest
from tests.naming.test_heads import random_heads
from tests.naming.test_references import RANK_MODEL
from tests.naming.test_references import made as made_references
from tests.pipeline.test_references import genbank
from tests.proteins.test_own_genes import TRANSLATED
from virnucpro.calling.classifier import load_classifier
from virnucpro.calling.evidence import EVIDENCE
from virnucpro.calling.published import load_published, read_pth
from virnucpro.calling.requirements import DEFAULT, read_requirements
from virnucpro.config import check_beginning, check_config, read_samples, read_training
from virnucpro.data.embeddings import EmbeddingFile, new_embedding_file
from virnucpro.data.fasta import read_fasta
from virnucpro.data.manifest import read_manifest, write_manifest
from virnucpro.data.provenance import read_provenance, write_provenance
from virnucpro.data.records import read_contigs, read_proteins
from virnucpro.errors import UserError
from virnucpro.naming.heads import load_heads, save_heads
from virnucpro.naming.kmers import shared_kmers, sketch
from virnucpro.naming.references import load_references, save_references
from virnucpro.pipeline.prepare import prepare_genes
from virnucpro.pipeline.references import make_references_file
from virnucpro.proteins.genes import open_reading_frames

Change = Callable[[random.Random, bytes], bytes]


@dataclass(frozen=True)
class Target:
    """A reader, files for it by name, and a function that changes their structure."""

    name: str
    seeds: list[tuple[str, bytes]]
    check: Callable[[Path], object]
    change: Change | None = None
    compressed: bool = False


def check_classifier(path: Path) -> None:
    """Read a classifier, and score what it says that it was trained on."""
    read_requirements(path)
    found = load_classifier(path)
    embedding = found.requirements.embedding
    width = embedding.embed_dim * len(embedding.layers) + 1
    if width > 10**6:
        raise UserError("larger than any encoder")
    found.protein_log_odds(np.zeros((2, width), np.float32))
    found.contig_log_odds(np.zeros((2, len(EVIDENCE))))
    found.requirements.tested_from  # noqa: B018


def check_heads(path: Path) -> None:
    """Read heads, and run both."""
    heads = load_heads(path)
    for head in (heads.function, heads.taxon):
        head.probabilities(np.zeros((2, heads.function.mean.size), np.float32), np.array([1, 1]))
    for rank in ("class", "genome"):
        heads.described.limit(rank, "Caudoviricetes", 9000)


def check_genes(path: Path) -> None:
    """Read the genes of contigs from a file, and write their proteins."""
    fasta = path.with_name("contigs.fna")
    fasta.write_bytes(FNA)
    with TemporaryDirectory(dir=path.parent) as folder:
        prepare_genes(fasta, Path(folder, "prepared"), 1, path)


def check_translations(path: Path) -> None:
    """Read genes and contigs from one file, and write the proteins."""
    with TemporaryDirectory(dir=path.parent) as folder:
        prepare_genes(path, Path(folder, "prepared"))


def check_references(path: Path) -> None:
    """Read references, and compare proteins with them."""
    known = load_references(path)
    hits = shared_kmers(_SKETCH, known.index)
    known.table[["record", "name"]].iloc[hits["reference"]]


def check_embeddings(path: Path) -> None:
    """Read a file of embeddings, and all its rows."""
    file = EmbeddingFile(path)
    file.rows(np.arange(len(file.ids)))
    for number in range(len(file.ids) if file.has_residues else 0):
        file.residues(number)


def check_yaml(path: Path) -> None:
    """Check a config as Snakemake passes it on."""
    try:
        config = yaml.safe_load(path.read_bytes())
    except (yaml.YAMLError, ValueError, RecursionError):
        return  # Snakemake's to report
    if isinstance(config, dict):
        check_config(config)


def check_published(path: Path) -> None:
    """Read a classifier of the original, which must run nothing, and score with it."""
    read_requirements(path)
    found = read_pth(path)
    found.scores(np.zeros((2, found.hidden_weight.shape[1]), np.float32))
    load_published(path)


def check_fasta_of(kind: str) -> Callable[[Path], None]:
    """Return a function that reads a FASTA file of a type twice, as a run does."""

    def check(path: Path) -> None:
        try:
            check_beginning(path, kind)
        finally:
            list({"contigs": read_contigs, "proteins": read_proteins}[kind](path))

    return check


def _made(name: str, write: Callable[[Path], object]) -> tuple[str, bytes]:
    path = SEEDS / name
    write(path)
    return name, path.read_bytes()


def _embeddings(residues: list[int] | None) -> Callable[[Path], None]:
    def write(path: Path) -> None:
        with new_embedding_file(path, ["a_1F1", "b é", "c"], DESCRIPTION, residues, [0, 0, 4]) as file:
            file["embedding"][...] = 1
            if residues:
                file["residue_embedding"][...] = 2

    return write


def _small_classifier() -> bytes:
    arrays = load(DEFAULT.read_bytes())
    arrays = {k: np.ascontiguousarray(v[:2, :3] if v.ndim > 1 and k != "mean" else v) for k, v in arrays.items()}
    arrays["output_bias"] = arrays["output_bias"][:2]
    content = DEFAULT.read_bytes()
    return save(arrays, json.loads(content[8 : 8 + int.from_bytes(content[:8], "little")])["__metadata__"])


CONTIGS = [(name, sequence[:1500]) for name, sequence in read_fasta(DEMO)][:4]
FNA = "".join(f">{name} circular=true\n{sequence[:700]}\n{sequence[700:]}\n" for name, sequence in CONTIGS).encode()
FAA = b">p1 protein one\nMKTAYIAKQRQISFVKSHFSRQLEERL\nAPILSRVGDGTQDNLSGAEKAVQ*\n>p2\r\nMSTNPKPQRKTKRNTNRRPQDVKFPGGG\n"
GBK = genbank("A", CONTIGS[0][1], "NC_1.1", "Phage", "Viruses; Duplodnaviria; Caudoviricetes.", "circular") + genbank(
    "B", CONTIGS[1][1][:600]
)
_CDS = "{}\tx\tCDS\t{}\t{}\t.\t{}\t{}\tID={};locus_tag=g1;transl_table=11;product=a%3Bb\n"
GFF = "##gff-version 3\n" + "".join(
    _CDS.format(name, gene.start + 1, gene.end, gene.strand.decode(), 0, f"c{number}")
    for name, sequence in CONTIGS
    for number, gene in enumerate(open_reading_frames(sequence.encode()))
)
_SKETCH = sketch(
    [b"MKLVINGKTLKGEITIEAVDAATAEKVFKQYANDNGVDGEWTYDDATKTFTVTE", b"MSTNPKPQRKTKRNTNRRPQDV"], np.array([0, 1])
)

(SEEDS / "a.fna").write_bytes(FNA)
(SEEDS / "b.faa").write_bytes(FAA)
SAMPLES = f"sample\tfasta\ttype\nsoil\t{SEEDS}/a.fna\tcontigs\nsea-1\t{SEEDS}/a.fna\t\np\t{SEEDS}/b.faa\tproteins\n"
TRAINING = "fasta\trecord\tlabel\tgroup\tkind\tsplit\tmask\n" + "".join(
    f"{SEEDS}/a.fna\t{CONTIGS[number][0]}\t{label}\tg{number}\t{label}\t{split}\t{mask}\n"
    for number, (label, split, mask) in enumerate(
        [("viral", "train", ""), ("viral", "", "1-20,30-40"), ("cellular", "train", ""), ("cellular", "train", "5-9")]
    )
)
CONFIG = {"samples": "config/samples.tsv", "outdir": "results", "layers": [2, 4], "short_chunks": [300], "prior": 0.1}


def _record(path: Path) -> None:
    write_provenance(path, "prepare", {"chunk_size": 500}, {"fasta": "ab" * 32}, [SEEDS / "a.fna"], {"contigs": 1}, "k")


def _targets() -> list[Target]:
    pth = [_made("module.pth", lambda path: save_as_original(random_classifier(20), path))]
    state = random_classifier(20).state_dict()
    pth.append(_made("state.pth", lambda path: torch.save(state, path)))
    pth.append(_made("old.pth", lambda path: torch.save(state, path, _use_new_zipfile_serialization=False)))
    npz = [_made("user.npz", lambda path: save_references(made_references(), path))]
    npz.append(_made("shipped.npz", lambda path: save_references(made_references(RANK_MODEL), path)))
    hdf5 = [_made("e.h5", _embeddings(None)), _made("residues.h5", _embeddings([3, 1, 2]))]
    return [
        Target("contigs", [("a.fna", FNA)], check_fasta_of("contigs"), change_lines, compressed=True),
        Target("proteins", [("a.faa", FAA)], check_fasta_of("proteins"), change_lines, compressed=True),
        Target("samples", [("samples.tsv", SAMPLES.encode())], read_samples, change_cells),
        Target("training", [("training.tsv", TRAINING.encode())], read_training, change_cells),
        Target("config", [("config.yaml", yaml.safe_dump(CONFIG).encode())], check_yaml, change_config),
        Target(
            "manifest", [_made("0001.json", lambda path: write_manifest(path, manifest()))], read_manifest, change_json
        ),
        Target("embeddings", hdf5, check_embeddings, change_hdf5),
        Target("classifier", [("c.safetensors", _small_classifier())], check_classifier, change_safetensors),
        Target(
            "heads",
            [_made("h.safetensors", lambda path: save_heads(random_heads(), path))],
            check_heads,
            change_safetensors,
        ),
        Target("references", npz, check_references, change_npz),
        Target("published", pth, check_published, change_pth),
        Target(
            "user_references",
            [
                ("a.gbk", GBK.encode()),
                ("a.fna", FNA),
                ("a.gb.gz", gzip.compress(GBK.encode())),
                ("a.fa.gz", gzip.compress(FNA)),
            ],
            lambda path: make_references_file(path.parent, path.parent / "references.npz"),
            change_lines,
        ),
        Target(
            "genes",
            [
                ("a.gff3", GFF.encode()),
                ("a.gff.gz", gzip.compress(GFF.encode())),
                ("b.gff3", GFF.encode() + b"##FASTA\n" + FNA),
                ("a.gbk", GBK.encode()),
            ],
            check_genes,
            change_lines,
        ),
        Target("translations", [("a.gbk", TRANSLATED.encode())], check_translations, change_lines),
        Target("records", [_made("prepare.json", _record)], lambda path: read_provenance(path, "prepare"), change_json),
    ]


TARGETS = {target.name: target for target in _targets()}
