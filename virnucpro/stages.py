"""The stages of the workflow as commands, and embed-proteins: each parses its options and calls a function.

The function is imported when the command runs, so that commands without torch start in a fraction of a second.
"""

from pathlib import Path
from typing import Any

import click

from virnucpro.calling import SENSITIVITIES
from virnucpro.command import FILE, POSITIVE, SHARE, auto_or, command, setting
from virnucpro.config import DEFAULTS
from virnucpro.errors import UserError

MODEL = "name (esm2_t36_3B_UR50D, esmc_300m_2024_12, DNABERT-S, ...), or path of a checkpoint or a folder with one"
device_option = setting("device", "auto is a GPU if there is one, else the CPU; gpu without a GPU is an error")
precision_option = setting("precision", "precision of the weights")
layers_option = click.option(
    "--layers",
    type=int,
    multiple=True,
    default=(-1,),
    metavar="N...",
    help="numbers of the layers to write; -1 is the last",
)
max_sequence_length_option = setting("max_sequence_length", "longest sequence that the model takes", metavar="RESIDUES")
LONG_PROTEINS = "treatment of longer proteins"
per_residue_option = click.option("--per-residue", is_flag=True, help="write embeddings of residues, too")
sample_option = click.option("--sample", help="name of the sample, for messages")
work_argument = click.argument("work", type=FILE, help="folder of the sample below work, with files of earlier stages")
encoder_option = click.option(
    "--encoder", default="", help="_nucleotides merges embeddings of the nucleotides of frames, not of proteins"
)
key_option = click.option("--key", default="", hidden=True)  # key of the job, given by the workflow
failed_option = click.option("--failed", type=FILE, help="table of unfinished samples")


@command("prepare", "assembly.fna.gz results/work/soil --threads 8")
@click.argument("fasta", type=FILE, help="FASTA, plain or compressed by gzip, bzip2, xz or zstd")
@click.argument("output_dir", type=FILE, help="folder of the sample, for prepared/proteins.faa, prepare.json and more")
@click.option(
    "--type",
    "kind",
    type=click.Choice(["contigs", "proteins", "prodigal"]),
    default="contigs",
    help="content of the FASTA file; prodigal is proteins with Prodigal's headers, as genes of their contigs",
)
@click.option("--genes", type=FILE, help="GFF3 or GenBank file with the genes of the contigs")
@setting("proteins", "use genes of contigs, or open frames of chunks; the options below are for frames")
@click.option("--threads", type=POSITIVE, default=1, help="number of threads that find genes")
@setting("chunk_size", "bases of a chunk", metavar="BP")
@click.option(
    "--short-chunks",
    type=POSITIVE,
    multiple=True,
    metavar="BP...",
    help="shorter chunk sizes to try, in this order, for contigs without an open frame",
)
@click.option(
    "--genetic-codes",
    type=click.Choice([1, 4, 15, 25]),
    multiple=True,
    default=[1],
    metavar="CODE...",
    help="codes to try besides the standard code 1, by NCBI's numbers",
)
@click.option(
    "--orientation",
    type=click.Choice(["given", "canonical"]),
    default="given",
    help="count chunks from the beginning of the contig, or of the strand that comes first in the alphabet",
)
@sample_option
def prepare(
    fasta: Path,
    output_dir: Path,
    kind: str,
    genes: Path | None,
    proteins: str,
    threads: int,
    sample: str | None,
    **chunking: Any,
) -> None:
    """Write the genes of contigs, the open frames of their chunks, or proteins in the letters of ESM-2."""
    from virnucpro.pipeline.prepare import prepare_frames, prepare_genes, prepare_prodigal, prepare_proteins

    if genes and (kind, proteins) != ("contigs", "genes"):
        raise UserError("--genes goes with --type contigs and --proteins genes")
    if kind == "proteins":
        prepare_proteins(fasta, output_dir / "prepared", proteins == "frames")
    elif kind == "prodigal":
        prepare_prodigal(fasta, output_dir / "prepared")
    elif proteins == "genes":
        prepare_genes(fasta, output_dir / "prepared", threads, genes)
    else:
        prepare_frames(fasta, output_dir / "prepared", **chunking)


@command("fetch-model", "esm2_t36_3B_UR50D --output model.json")
@click.argument("model", help=MODEL)
@click.option("--output", type=FILE, help="JSON file to write")
@layers_option
@click.option("--for-nucleotides", is_flag=True, help="it must be DNABERT-S, with its tokenizer beside it")
def fetch_model(**options: Any) -> None:
    """Fetch a model into the cache if needed, and write its name, digest and sizes."""
    from virnucpro.pipeline.fetch_model import fetch_model

    fetch_model(**options)


@command("token-budget", "model.json token_budget.json --precision float32")
@click.argument("model_json", type=FILE, help="file of fetch-model")
@click.argument("output", type=FILE, help="JSON file to write")
@device_option
@precision_option
@click.option(
    "--token-budget",
    "requested",
    default="auto",
    callback=auto_or(POSITIVE),
    metavar="TOKENS",
    help="tokens of a bin; auto computes it for the device",
)
def token_budget(**options: Any) -> None:
    """Write the number of tokens that a bin may hold on the device."""
    from virnucpro.pipeline.token_budget import probe_token_budget

    probe_token_budget(**options)


@command("pack", "results/work/soil token_budget.json --sample soil")
@work_argument
@click.argument("token_budget", type=FILE, help="file of token-budget")
@click.option("--sample", required=True, help="name of the sample")
@layers_option
@max_sequence_length_option
@setting("long_proteins", LONG_PROTEINS)
@click.option("--shards", type=POSITIVE, default=1, help="number of manifests to write, one per job")
@setting("shard_tokens", "warn if a shard has many more tokens", metavar="TOKENS")
@click.option("--nucleotides", metavar="MODEL", help="pack the nucleotides of frames for this DNABERT-S, name or path")
@click.option("--screen", type=FILE, help="screen of a classifier: do not pack clearly cellular genes")
def pack(**options: Any) -> None:
    """Pack proteins into bins by first-fit decreasing: manifests/*.json and duplicates.tsv."""
    from virnucpro.pipeline.pack import pack

    pack(**options)


@command("embed", "manifests/0001.json prepared/proteins.faa shards/0001.h5 --model esm2_t36_3B_UR50D")
@click.argument("manifest_path", metavar="MANIFEST", type=FILE, help="a manifest of pack")
@click.argument("proteins", type=FILE, help="proteins.faa or nucleotides.fna of prepare")
@click.argument("output", type=FILE, help="HDF5 file to write; the record is a .json beside it")
@click.option("--model", required=True, help=MODEL)
@device_option
@per_residue_option
@click.option("--compile", "compiled", is_flag=True, help="on a GPU, compile the model and capture it as a CUDA graph")
@click.option("--threads", type=POSITIVE, help="number of CPU threads")
def embed(**options: Any) -> None:
    """Run the bins of one manifest through ESM-2, ESM C or DNABERT-S, on a free CUDA device or else on the CPU."""
    from virnucpro.pipeline.embed import embed

    embed(**options)


@command("merge", "results/work/soil results/soil/embeddings.h5")
@work_argument
@click.argument("output", type=FILE, help="HDF5 file to write")
@encoder_option
@key_option
def merge(**options: Any) -> None:
    """Join the embeddings of all shards of a sample in the order of its proteins: embeddings.h5."""
    from virnucpro.pipeline.merge import merge

    merge(**options)


@command("references", "my_viruses references.npz")
@click.argument("folder", type=FILE, help="folder with FASTA and GenBank files, plain or compressed")
@click.argument("output", type=FILE, help=".npz file to write")
@click.option("--threads", type=POSITIVE, default=1, help="number of threads that find genes")
@key_option
def references(**options: Any) -> None:
    """Make references of known viruses, with protein k-mers, names and taxa, which call uses to name contigs."""
    from virnucpro.pipeline.references import make_references_file

    make_references_file(**options)


@command("call", "assembly.fna.gz results/work/soil results/soil")
@click.argument("fasta", type=FILE, help="the contigs")
@work_argument
@click.argument("folder", type=FILE, help="folder of the sample's results, with embeddings.h5")
@key_option
@click.option(
    "--classifier", type=FILE, help="safetensors file of train  [default: the classifier that comes with virnucpro]"
)
@click.option("--references", type=FILE, help="your own references, a file of references")
@click.option("--heads", type=FILE, help="safetensors file of train-names  [default: the heads of virnucpro]")
@setting("prior", "share of contigs expected to be viral; auto estimates it", callback=auto_or(SHARE))
@setting("max_fdr", "highest false discovery rate of the contigs called viral", default=SENSITIVITIES["default"])
@setting("min_length", "bases of the shortest contig that is called")
@sample_option
def call(classifier: Path | None, sample: str | None, **options: Any) -> None:
    """Call the contigs of a sample viral, cellular or unresolved: contigs.tsv, genes.tsv, viral.fasta.gz and more."""
    from virnucpro.calling.requirements import DEFAULT
    from virnucpro.pipeline.call import call

    call(classifier=classifier or DEFAULT, **options)


@command("summary", "results soil gut")
@click.argument("output_dir", type=FILE, help="the run's folder")
@click.argument("samples", nargs=-1, required=True, help="names of the samples, each with a folder there")
@click.option("--called", multiple=True, metavar="SAMPLE...", help="samples with calls")
@failed_option
def summary(**options: Any) -> None:
    """Sum up a run and list left-out records: summary.tsv, left_out.tsv, summary.txt, packing.svg."""
    from virnucpro.pipeline.summary import summary

    summary(**options)


@command("report", "results soil gut --fasta soil.fna.gz gut.fna.gz")
@click.argument("output_dir", type=FILE, help="the run's folder, with files of summary and call")
@click.argument("samples", nargs=-1, help="names of the samples with calls")
@click.option("--fasta", "fastas", type=FILE, multiple=True, metavar="FILE...", help="their contigs, in this order")
@click.option("--earlier", multiple=True, metavar="SAMPLE...", help="samples with calls of an earlier run")
@failed_option
def report(**options: Any) -> None:
    """Write report.html, a page with the calls of a run for people."""
    from virnucpro.pipeline.report import report

    samples, files = len(options["samples"] + options["earlier"]), len(options["fastas"])
    if files != samples:
        raise UserError(f"{samples} samples, but {files} files; give --fasta one file for each sample")
    report(**options)


@command("import-classifier", "500_model.pth 500.safetensors")
@click.argument("pth", type=FILE, help="a classifier of the original VirNucPro")
@click.argument("output", type=FILE, help="safetensors file to write")
@click.option("--chunk-size", type=POSITIVE, metavar="BP", help="chunk size; known for published ones")
def import_classifier(**options: Any) -> None:
    """Convert a classifier of the original VirNucPro to safetensors, without running code in its pickle."""
    from virnucpro.pipeline.import_classifier import import_classifier

    import_classifier(**options)


@command("check-virnucpro", "results/work/input results/input")
@work_argument
@click.argument("folder", type=FILE, help="results of a sample, from a run over the original's test input")
def check_virnucpro(work: Path, folder: Path) -> None:
    """Compare features and scores with the original VirNucPro, and report pass or fail."""
    from virnucpro.pipeline.check_virnucpro import check_virnucpro

    if not check_virnucpro(work, folder):
        raise UserError(f"{folder}: not what the original VirNucPro gives; docs/from-virnucpro.md says what may differ")


@command("fragment", "training.tsv fragments.fna.gz fragments.tsv")
@click.argument("sheet", type=FILE, help="table of labeled FASTA files: fasta, record, label, group, kind, split")
@click.argument("fasta", type=FILE, help="FASTA to write, gzip")
@click.argument("table", type=FILE, help="TSV to write, with the origin of each fragment")
@click.option("--bases", type=POSITIVE, default=DEFAULTS["training_bases"], help="approximate bases of each group")
@setting("seed", "seed of the random choice")
def fragment(**options: Any) -> None:
    """Cut labeled genomes into fragments as long as contigs for training, with equal bases per group."""
    from virnucpro.pipeline.fragment import fragment

    fragment(**options)


@command("train", "results/work/training results/training training.tsv results/training/classifier")
@click.argument("training", type=FILE, help="folder with files of fragment and prepare")
@click.argument("embeddings", type=FILE, help="folder with files of merge")
@click.argument("sheet", type=FILE, help="the table of labeled FASTA files")
@click.argument("output_dir", type=FILE, help="folder to write into")
@setting("seed", "seed of all random choices")
@click.option("--nucleotides", is_flag=True, help="train on embeddings of the frames' nucleotides, too")
def train(**options: Any) -> None:
    """Train a classifier on fragments and their embeddings: classifier.safetensors, model_card.md and more."""
    from virnucpro.pipeline.train import train

    train(**options)


@command(
    "train-names",
    "results/work/training results/training training.tsv proteins.faa functions.tsv lineage.tsv names",
)
@click.argument("training", type=FILE, help="folder with files of fragment and prepare")
@click.argument("embeddings", type=FILE, help="folder with files of merge and train")
@click.argument("sheet", type=FILE, help="the table of labeled FASTA files")
@click.argument("proteins", type=FILE, help="FASTA of labeled proteins")
@click.argument("functions", type=FILE, help="table of labeled proteins: protein, category, cluster, copies")
@click.argument("lineage", type=FILE, help="table of the viral records: record, realm to genus, species")
@click.argument("output_dir", type=FILE, help="folder to write into")
@setting("model", "the encoder of the embeddings: its name, or path of a checkpoint")
@setting("device", "device that embeds the labeled proteins")
@setting("seed", "seed of all random choices")
def train_names(**options: Any) -> None:
    """Fit and evaluate heads and references, which name viruses: heads.safetensors, references.npz and tables."""
    from virnucpro.pipeline.train_names import train_names

    train_names(**options)


@command(
    "embed-proteins",
    "proteome.faa.gz proteome.h5",
    "proteome.faa embeddings.npz --model esm2_t33_650M_UR50D --layers 33 20",
)
@click.argument("fasta", type=FILE, help="proteins, FASTA, plain or compressed")
@click.argument("output", type=FILE, help="file to write: .h5 or .npz")
@setting("model", "name of an ESM-2 or ESM C, or path of a checkpoint")
@layers_option
@per_residue_option
@setting("device", "auto is all GPUs, or the CPU")
@precision_option
@click.option("--token-budget", type=POSITIVE, metavar="TOKENS", help="tokens per batch  [default: by the device]")
@max_sequence_length_option
@setting("long_proteins", LONG_PROTEINS)
def embed_proteins(**options: Any) -> None:
    """Embed the proteins of a FASTA file with ESM-2 or ESM C, packed without padding.

    Run the same command again to resume.
    """
    from virnucpro.embedding.proteins import embed_file

    embed_file(**options)
