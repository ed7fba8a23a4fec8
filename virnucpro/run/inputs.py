"""Samples and settings of a run, checked, with paths that are valid in any working folder."""

import glob
import json
import os
import re
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any, NamedTuple

import pandas as pd
import yaml

from virnucpro.config import (
    PROPERTIES,
    check_beginning,
    check_config,
    expand_path,
    is_image_file,
    literal_path,
    read_samples,
    read_schema,
    read_training,
)
from virnucpro.data.files import write_text
from virnucpro.encoders.names import local_checkpoint
from virnucpro.errors import UserError

_ENDINGS = re.compile(
    r"([.](fasta|fna|fa|faa|ffn|fas|fsa|txt|gb|gbk|gbff|genbank|gff3?))?([.](gz|bgz|bz2|xz|zst))?$", re.IGNORECASE
)


class Sample(NamedTuple):
    """A row of the table of samples; the paths are absolute, and `genes` may be empty."""

    sample: str
    fasta: str
    type: str
    genes: str = ""


def read_config(configfile: Path | None, pairs: Iterable[str], options: Mapping[str, Any]) -> dict[str, Any]:
    """Return the settings of a run: options override `KEY=VALUE` pairs, which override the file.

    Raises:
        UserError: The file does not hold settings, or a pair is not KEY=VALUE.
    """
    config: dict[str, Any] = {}
    if configfile:
        try:
            config = yaml.safe_load(configfile.read_text(encoding="utf-8")) or {}
        except (ValueError, yaml.YAMLError) as error:
            raise UserError(f"{configfile}: not YAML: {' '.join(str(error).split())}") from None
        if not isinstance(config, dict):
            raise UserError(f"{configfile}: holds no settings; each is a line KEY: VALUE")
    for pair in pairs:
        key, equals, value = pair.partition("=")
        if not equals:
            raise UserError(f"--config {pair}: not KEY=VALUE")
        config[key] = value
    config |= {key: value for key, value in options.items() if value is not None}
    for key, value in config.items():
        rules = PROPERTIES.get(key, {})
        is_list = any(rule.get("type") == "array" for rule in (rules, *rules.get("anyOf", [])))
        if is_list and isinstance(value, str) and value != "auto" and not value.startswith("["):
            config[key] = f"[{value}]"  # --layers 24,36
    return config


def find_samples(patterns: Sequence[str], kind: str, genes: str | None = None) -> list[Sample]:
    """Return a sample for each FASTA file, named like the file without its endings.

    Files with one name, such as `A/contigs.fasta` and `B/contigs.fasta` of an assembler, are named like their folders.

    Args:
        patterns: Paths of files, or patterns such as `*.fna`.
        genes: GFF3 or GenBank file with the genes of the one file of contigs.

    Raises:
        UserError: A file is missing, prepare would refuse its beginning, its name is not valid for a sample, or two
            samples have one name.
    """
    rules = read_schema("samples")["properties"]["sample"]
    found: dict[str, tuple[str, Sample]] = {}
    names = [(path, _ENDINGS.sub("", Path(path).name, count=1)) for pattern in patterns for path in _expand(pattern)]
    uses = Counter(name for _, name in names)
    for path, of_file in names:
        name = of_file if uses[of_file] == 1 else Path(_absolute(path)).parent.name
        cure = "give the file another name, or a table of samples: virnucpro run --samples table.tsv"
        if not re.search(rules["pattern"], name):
            raise UserError(f"{path}: {name!r} names no sample, which must be {rules['description']}; {cure}")
        if name in found:
            raise UserError(f"{found[name][0]} and {path} would both be sample {name}; {cure}")
        check_beginning(Path(path), kind)
        found[name] = path, Sample(name, _absolute(path), kind)
    samples = [sample for _, sample in found.values()]
    if not genes:
        return samples
    if len(samples) > 1 or kind != "contigs":
        raise UserError("--genes goes with one file of contigs; a table of samples has a column genes for each sample")
    genes = _absolute(expand_path(genes))
    check_beginning(Path(genes), "genes")
    return [samples[0]._replace(genes=genes)]


def read_table(path: Path) -> list[Sample]:
    """Return the samples of a table; errors in it are a UserError."""
    rows = read_samples(path)[list(Sample._fields)].to_numpy(str).tolist()
    return [Sample(name, _absolute(fasta), kind, genes and _absolute(genes)) for name, fasta, kind, genes in rows]


def earlier_samples(path: Path, samples: Sequence[Sample]) -> list[Sample]:
    """Return the samples of an earlier run's table that are not among `samples` and whose FASTA can be read."""
    new = {sample.sample for sample in samples}
    found = []
    with suppress(UserError):
        for one in read_table(path):
            with suppress(UserError):
                check_beginning(Path(one.fasta), one.type)
                found += [one] if one.sample not in new else []
    return found


def complete(config: dict[str, Any]) -> dict[str, Any]:
    """Check settings, and return them with defaults and absolute paths.

    Raises:
        UserError: A key is unknown, has a wrong value, or the model does not exist.
    """
    config = ({} if "training" in config else {"samples": "samples.tsv"}) | config  # written later
    check_config(config)
    paths = list({"references", "heads"} & config.keys())
    paths += [key for key in ("model", "nucleotide_model") if key in config and local_checkpoint(config[key])]
    paths += ["container"] * is_image_file(config) + ["classifier"] * (config["classifier"] != "default")
    config |= {key: _absolute(config[key]) for key in paths}
    config["outdir"] = str(Path(config["outdir"]).absolute())
    check_config(config)  # again with absolute paths, in case of a bad working folder
    return config


def write_inputs(config: dict[str, Any], samples: Sequence[Sample], folder: Path, directory: Path) -> Path:
    """Write config.json and its tables into a folder, and return the path of config.json.

    Args:
        directory: Working folder of Snakemake. Paths of results in its parent are relative to it, so that both can be
            moved.
    """
    outdir = Path(config["outdir"])
    config = config | {"outdir": ".." if outdir == directory.parent else str(outdir)}
    if samples:
        config["samples"] = _write_table(pd.DataFrame(samples), folder / "samples.tsv")
    if "training" in config:
        table = read_training(Path(config["training"]))
        table["fasta"] = table["fasta"].map(_absolute)
        config["training"] = _write_table(table, folder / "training.tsv")
    path = folder / "config.json"
    write_text(path, json.dumps(config, indent=1, ensure_ascii=False) + "\n")
    return path


def _expand(pattern: str) -> Iterator[str]:
    pattern = expand_path(pattern)
    is_pattern = any(sign in pattern for sign in "*?[") and not os.path.lexists(pattern)
    paths = sorted(glob.glob(pattern, recursive=True)) if is_pattern else [pattern]  # noqa: PTH207 (takes absolute ones)
    if not paths:
        raise UserError(f"{pattern}: no such file")
    yield from paths


def _absolute(path: str) -> str:
    return literal_path(str(Path(path).absolute()))


def _write_table(table: pd.DataFrame, path: Path) -> str:
    write_text(path, table.to_csv(sep="\t", index=False))  # a path may need quotes
    return str(path)
