"""What a run is asked to do: its samples and its settings, checked, with paths that hold in any working folder."""

import csv
import glob
import io
import json
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any, NamedTuple

import yaml

from virnucpro.config import (
    PROPERTIES,
    check_beginning,
    check_config,
    is_image_file,
    literal_path,
    read_samples,
    read_schema,
    read_training,
)
from virnucpro.data.files import write_text
from virnucpro.encoders.names import local_checkpoint
from virnucpro.errors import UserError

_ENDINGS = re.compile(r"([.](fasta|fna|fa|faa|ffn|fas|fsa|txt))?([.](gz|bgz|bz2|xz|zst))?$", re.IGNORECASE)


class Sample(NamedTuple):
    """A row of the table of samples; the path is absolute."""

    sample: str
    fasta: str
    type: str


def read_config(configfile: Path | None, pairs: Iterable[str], options: Mapping[str, Any]) -> dict[str, Any]:
    """Return the settings of a run: those of a file, of `KEY=VALUE` over them, and of options over both.

    Raises:
        UserError: the file does not hold settings, or a pair is none.
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


def find_samples(patterns: Sequence[str], kind: str) -> list[Sample]:
    """Return a sample for each FASTA file, named like the file without its endings.

    Args:
        patterns: paths of files; what is no file may be a pattern such as `*.fna`.
        kind: contigs or proteins.

    Raises:
        UserError: there is no such file, prepare would refuse its beginning, its name is no sample's, or two have one.
    """
    rules = read_schema("samples")["properties"]["sample"]
    found: dict[str, tuple[str, Sample]] = {}
    for path in (path for pattern in patterns for path in _expand(pattern)):
        name = _ENDINGS.sub("", Path(path).name, count=1)
        cure = "give the file another name, or a table of samples: virnucpro run --samples table.tsv"
        if not re.search(rules["pattern"], name):
            raise UserError(f"{path}: {name!r} names no sample, which must be {rules['description']}; {cure}")
        if name in found:
            raise UserError(f"{found[name][0]} and {path} would both be sample {name}; {cure}")
        check_beginning(Path(path), kind)
        found[name] = path, Sample(name, _absolute(path), kind)
    return [sample for _, sample in found.values()]


def read_table(path: Path) -> list[Sample]:
    """Return the samples of a table; a UserError says what is wrong with it."""
    rows = read_samples(path)[["sample", "fasta", "type"]].itertuples(index=False)
    return [Sample(str(name), _absolute(fasta), str(kind)) for name, fasta, kind in rows]


def earlier_samples(path: Path, samples: Sequence[Sample]) -> list[Sample]:
    """Return the samples in the table of an earlier run that are not among `samples` and whose FASTA can be read."""
    new = {sample.sample for sample in samples}
    found = []
    with suppress(UserError):
        for one in read_table(path):
            with suppress(UserError):
                check_beginning(Path(one.fasta), one.type)
                found += [one] if one.sample not in new else []
    return found


def complete(config: dict[str, Any]) -> dict[str, Any]:
    """Return checked settings with the defaults of what they do not say, and with absolute paths.

    Raises:
        UserError: a key is unknown, its value of the wrong type or range, or there is no such model.
    """
    config = ({} if "training" in config else {"samples": "samples.tsv"}) | config  # which will be written
    check_config(config)
    for key in ("model", "nucleotide_model"):
        if key in config and local_checkpoint(config[key]):
            config[key] = _absolute(config[key])
    if is_image_file(config):
        config["container"] = _absolute(config["container"])
    if config["classifier"] != "default":
        config["classifier"] = _absolute(config["classifier"])
    for key in {"references", "heads"} & config.keys():
        config[key] = _absolute(config[key])
    config["outdir"] = str(Path(config["outdir"]).absolute())
    check_config(config)  # the working folder may hold what no path may
    return config


def write_inputs(config: dict[str, Any], samples: Sequence[Sample], folder: Path, directory: Path) -> Path:
    """Write config.json and the tables that it names into a folder, and return its path.

    Args:
        config: settings with absolute paths.
        samples: rows of the table of samples.
        folder: for the files.
        directory: in which Snakemake runs. Results in its parent are named from there, so that both can be moved.
    """
    outdir = Path(config["outdir"])
    config = config | {"outdir": ".." if outdir == directory.parent else str(outdir)}
    if samples:
        config["samples"] = str(_write_table(folder / "samples.tsv", Sample._fields, samples))
    if "training" in config:
        table = read_training(Path(config["training"]))
        table["fasta"] = table["fasta"].map(_absolute)
        config["training"] = str(_write_table(folder / "training.tsv", table.columns, table.to_numpy()))
    path = folder / "config.json"
    write_text(path, json.dumps(config, indent=1, ensure_ascii=False) + "\n")
    return path


def _expand(pattern: str) -> Iterator[str]:
    is_pattern = any(sign in pattern for sign in "*?[") and not Path(pattern).exists()
    paths = sorted(glob.glob(pattern, recursive=True)) if is_pattern else [pattern]  # noqa: PTH207 (takes absolute ones)
    if not paths:
        raise UserError(f"{pattern}: no such file")
    yield from paths


def _absolute(path: str) -> str:
    return literal_path(str(Path(path).absolute()))


def _write_table(path: Path, header: Iterable[str], rows: Iterable[Sequence[Any]]) -> Path:
    text = io.StringIO()
    csv.writer(text, delimiter="\t", lineterminator="\n").writerows([header, *rows])
    write_text(path, text.getvalue())
    return path
