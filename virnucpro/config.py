"""Configuration and tables of samples, checked before any job starts."""

from __future__ import annotations

import csv
import os
import re
from collections.abc import Callable, Iterator
from contextlib import suppress
from difflib import get_close_matches
from importlib.resources import files
from itertools import zip_longest
from pathlib import Path
from typing import TYPE_CHECKING, Any

import fastjsonschema
import yaml

from virnucpro.data.fasta import first_line
from virnucpro.data.files import refuse_pipe
from virnucpro.data.records import READERS
from virnucpro.errors import UserError
from virnucpro.proteins.prodigal import read_place

if TYPE_CHECKING:
    import pandas as pd


def read_schema(name: str) -> dict[str, Any]:
    """Return the schema of the config, or of a row of the table `samples` or `training`."""
    text = files("virnucpro").joinpath("workflow", "schemas", f"{name}.schema.yaml").read_text(encoding="utf-8")
    schema: dict[str, Any] = yaml.safe_load(text)
    return schema


Check = Callable[[Path, str], object]  # checks a file of a type; raises a UserError

_CONFIG = read_schema("config")
PROPERTIES: dict[str, dict[str, Any]] = _CONFIG["properties"]
DEFAULTS: dict[str, Any] = {key: rules["default"] for key, rules in PROPERTIES.items() if "default" in rules}

# Settings of the original VirNucPro; keys given besides the preset override it.
_VIRNUCPRO: dict[str, Any] = {
    "model": "esm2_t36_3B_UR50D",
    "nucleotide_model": "DNABERT-S",
    "proteins": "frames",
    "short_chunks": [],
    "genetic_codes": [1],
}
PRESETS = {f"virnucpro-{size}": _VIRNUCPRO | {"chunk_size": size} for size in (300, 500)}

# Suffixes of files of references, by format.
_REFERENCES = {
    "fasta": re.compile(r"[.](fa|fasta|fna)([.](gz|bgz|bz2|xz|zst))?$", re.IGNORECASE),
    "genbank": re.compile(r"[.](gb|gbk|gbff|genbank)([.]gz)?$", re.IGNORECASE),
}

# Snakemake takes {name} for a wildcard, and <name> for one of its path variables; neither can be escaped.
_PLACEHOLDER = re.compile(r"\{\s*[.\w]+\s*[,}]|<[a-z][a-z0-9_]*>")

_EXPONENT = re.compile(r"[-+]?[0-9]+(?:[.][0-9]*)?e[-+]?[0-9]+", re.IGNORECASE)
LONGEST_OUTDIR = 3_500  # bytes; Linux takes paths of 4,095, and the names of samples have up to 200
_PERCENT = re.compile(r"([0-9]+(?:[.][0-9]+)?) ?%")


def check_config(config: dict[str, Any]) -> None:
    """Check a configuration against its schema, and fill in defaults.

    Text is read as YAML if the schema expects another type: `snakemake --config` passes false, and numbers in a list,
    as text.

    Raises:
        UserError: A key is unknown or missing, has a wrong value, or contradicts another key.
    """
    for key, value in PRESETS.get(str(config.get("preset")), {}).items():
        config.setdefault(key, value)
    if unknown := sorted(map(str, config.keys() - PROPERTIES.keys())):
        near = get_close_matches(unknown[0].replace("-", "_"), PROPERTIES, n=1)
        hint = f"do you mean {near[0]}?" if near else f"the keys are {', '.join(PROPERTIES)}"
        raise UserError(f"config: unknown key {', '.join(unknown)}; {hint}")
    texts = {key for key, rules in PROPERTIES.items() if rules.get("type") == "string"}
    try:
        config.update({key: _read_yaml(value) for key, value in config.items() if key not in texts})
        config.update(fastjsonschema.validate(_CONFIG, config))
    except fastjsonschema.JsonSchemaValueException as error:
        raise UserError(f"config: {_explain(error, PROPERTIES)}; config/README.md explains it") from None
    except RecursionError:
        raise UserError(
            "config: a list has too many levels, or holds itself; config/README.md explains all values"
        ) from None
    for key in texts & config.keys():
        try:
            config[key] = literal_path(config[key])
        except UserError as error:
            raise UserError(f"config: {key}: {error}") from None
    if is_image_file(config) and not Path(config["container"]).exists():
        raise UserError(f"config: container: {config['container']}: no such file, and no address such as docker://...")
    if "nucleotide_model" in config and config["proteins"] != "frames":
        raise UserError(
            "config: nucleotide_model embeds the nucleotides of frames; set proteins to frames, or remove it"
        )
    outdir = Path(config["outdir"])
    if (size := len(os.fsencode(outdir.absolute()))) > LONGEST_OUTDIR:
        raise UserError(f"config: outdir is a path of {size:,} bytes; give one of {LONGEST_OUTDIR:,} or less")
    for path in (outdir, *outdir.parents):
        if os.path.lexists(path) and not path.is_dir():
            what = "a file" if path.exists() else "a link to nothing"
            raise UserError(f"config: outdir is {outdir}, but {path} is {what}; give the path of a folder")


def is_image_file(config: dict[str, Any]) -> bool:
    """Return whether the key container is set and names a file, not the address of an image."""
    return "://" not in config.get("container", "://")


def _read_yaml(value: Any) -> Any:
    if isinstance(value, list):
        return [_read_yaml(item) for item in value]
    if isinstance(value, str):
        if _EXPONENT.fullmatch(value):  # text in YAML 1.1, unless it has a point
            return float(value)
        with suppress(yaml.YAMLError, ValueError, RecursionError):  # an invalid date is a ValueError
            return yaml.safe_load(value)
    if isinstance(value, float) and value.is_integer():  # an integer to the schema, but not to a command
        return int(value)
    return value


def expand_path(path: str) -> str:
    """Return a path with the home folder for ~ and with the values of variables, unless such a file is there."""
    is_there = os.path.lexists(path)
    return path if is_there else os.path.expanduser(os.path.expandvars(path))  # noqa: PTH111 (Path has no variables)


def literal_path(path: str) -> str:
    """Return a path that no command takes for an option: a path that begins with a hyphen becomes absolute.

    Raises:
        UserError: Snakemake would replace a part of the path, the path is not UTF-8 or holds NUL, or no file can be
            read there (`refuse_pipe`).
    """
    if "\0" in path:
        raise UserError(f"{path!r}: no path holds the character NUL; remove it")
    if (readable := path.encode("utf-8", "backslashreplace").decode()) != path:
        raise UserError(f"{readable}: this path is not UTF-8; rename the file or its folder, or link to it")
    path = expand_path(path)
    if found := _PLACEHOLDER.search(path):
        raise UserError(f"{path}: Snakemake would replace the {found[0]} in this path; rename the file, or link to it")
    refuse_pipe(path)
    return str(Path(path).absolute()) if path.startswith("-") else path


def check_beginning(path: Path, kind: str) -> str:
    """Read the beginning of a sample's file of contigs, proteins or genes; raise a UserError if prepare would.

    Returns:
        The kind, or `prodigal` for proteins if the first header is Prodigal's.
    """
    with suppress(ModuleNotFoundError):  # Biopython or zstd may be only in the environment of the jobs
        if kind == "genes":
            from virnucpro.data.annotation import read_cds  # loaded here: it loads Biopython
        for _ in (read_cds if kind == "genes" else READERS[kind])(path, beginning=True):
            pass
    with suppress(ModuleNotFoundError):  # of zstd
        if kind == "proteins" and read_place(first_line(path)[1].removeprefix(">")):
            return "prodigal"
    return kind


def read_samples(path: Path, check: Check = check_beginning) -> pd.DataFrame:
    """Read and check a tab-separated table of samples; `check` is called with every file in it.

    Returns:
        One row per sample, text columns `sample`, `fasta`, `type` and `genes` (empty: none), with the samples' names as
        index.

    Raises:
        UserError: The table cannot be read, a column or a value is wrong, a sample occurs twice, or a file is missing
            or refused by `check`.
    """
    import pandas as pd  # loaded here: the defaults alone do not need it

    rows: dict[str, dict[str, str]] = {}
    for line, row in _checked_rows("samples", path):
        if row["sample"] in rows:
            raise UserError(f"{path}: line {line}: sample {row['sample']} is there twice; names must be unique")
        try:
            row["fasta"] = literal_path(row["fasta"])
            check(Path(row["fasta"]), row["type"])
            if row["genes"]:
                if row["type"] != "contigs":
                    raise UserError(f"genes go with contigs, and its type is {row['type']}; empty one of the two cells")
                row["genes"] = literal_path(row["genes"])
                check(Path(row["genes"]), "genes")
        except UserError as error:
            raise UserError(f"{path}: line {line}: sample {row['sample']}: {error}") from None
        rows[row["sample"]] = row
    return pd.DataFrame(rows.values()).set_index("sample", drop=False)


def read_training(path: Path, check: Check = check_beginning) -> pd.DataFrame:
    """Read and check a tab-separated table of labeled FASTA files; further columns are allowed.

    `check` is called with every file in the table.

    Returns:
        One row per file or record: text columns `fasta`, `record` (empty: all), `label`, `group`, `kind`, `split` and
        `mask`.

    Raises:
        UserError: The table cannot be read, a value is wrong, or a file is missing or refused by `check`. A group with
            two labels, kinds or splits is refused, too, and a kind with two labels.
    """
    import pandas as pd

    first: dict[tuple[str, str], dict[str, str]] = {}  # row of each group and of each kind
    rows, checked = [], set()
    for line, row in _checked_rows("training", path):
        of_kind = row | {"kind": row["kind"] or row["label"]}
        for key, column in (("group", "label"), ("group", "kind"), ("group", "split"), ("kind", "label")):
            before = first.setdefault((key, of_kind[key]), row)
            if row[column] != before[column]:
                raise UserError(
                    f"{path}: line {line}: {key} {row[key]} is {row[column]} here and {before[column]} before; "
                    f"a {key} has one {column}"
                )
        try:
            row["fasta"] = literal_path(row["fasta"])
            if row["fasta"] not in checked:
                check(Path(row["fasta"]), "contigs")
        except UserError as error:
            raise UserError(f"{path}: line {line}: {error}") from None
        if row["mask"] and not row["record"]:
            raise UserError(f"{path}: line {line}: mask holds spans of one record; name the record")
        checked.add(row["fasta"])
        rows.append(row)
    table = pd.DataFrame(rows)[["fasta", "record", "label", "group", "kind", "split", "mask"]]
    for label in ("viral", "cellular"):
        groups = table.loc[(table["label"] == label) & (table["split"] == "train"), "group"].nunique()
        if groups < 2:
            raise UserError(f"{path}: training needs two or more {label} groups with split train, found {groups}")
    return table


def find_references(folder: Path) -> dict[Path, str]:
    """Return the files in a folder of references, sorted by name, with their format, `fasta` or `genbank`.

    Raises:
        UserError: The folder is missing, has no such file, or has a file name in which Snakemake would replace a part.
    """
    try:
        paths = sorted(path for path in folder.iterdir() if path.is_file() and not path.name.startswith("."))
    except OSError as error:
        raise UserError(f"references: {folder}: cannot be read: {error.strerror}; give the path of a folder") from None
    found = {path: kind for path in paths for kind, ending in _REFERENCES.items() if ending.search(path.name)}
    if not found:
        raise UserError(f"references: {folder}: no FASTA and no GenBank file in it, such as x.fna, x.fasta.gz or x.gb")
    for path in found:
        literal_path(str(path))
    return found


def _checked_rows(key: str, path: Path) -> Iterator[tuple[int, dict[str, str]]]:
    """Yield the rows of a table with their line numbers, checked against a schema, with defaults for empty cells.

    Blank rows and blank columns without a name, which spreadsheets may add, are skipped.
    """
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            reader = csv.reader(file, delimiter="\t", strict=True)
            lines = [(reader.line_num, row) for row in reader if any(map(str.strip, row))]
    except FileNotFoundError:
        raise UserError(f"config: {key}: {path}: no such file") from None
    except (ValueError, OSError, csv.Error) as error:
        raise UserError(f"{path}: not a table of {key}: {error}") from None
    if not lines:
        raise UserError(f"{path}: not a table of {key}: it is empty")
    rules = read_schema(key)
    columns = rules["properties"]
    (first, header), *rows = lines
    header = [name.strip() for name in header]
    problems = {
        "unknown column": [name for name in header if name and name not in columns and "additionalProperties" in rules],
        "no column": [name for name in rules["required"] if name not in header],
        "a second column": [name for name in columns if header.count(name) > 1],
    }
    for problem, names in problems.items():
        if names:
            known = f"the columns are {', '.join(columns)}, separated by tabs"
            raise UserError(f"{path}: line {first}: {problem} {', '.join(names)}; {known}")
    if not rows:
        raise UserError(f"{path}: no {key} in it")
    check = fastjsonschema.compile(rules)  # once: it generates code
    for line, row in rows:
        cells = {name: cell for name, cell in zip_longest(header, row, fillvalue="") if cell.strip()}
        if "" in cells:
            raise UserError(f"{path}: line {line}: {cells['']!r} stands in a column without a name")
        try:
            yield line, check(cells)
        except fastjsonschema.JsonSchemaValueException as error:
            raise UserError(f"{path}: line {line}: {_explain(error, columns)}") from None


def _explain(error: fastjsonschema.JsonSchemaValueException, properties: dict[str, Any]) -> str:
    """Return the name of a wrong key, and its description in the schema."""
    if error.rule == "anyOf" and len(error.path) == 1:
        return "samples is missing"
    if error.rule == "required":
        missing = [key for key in error.rule_definition if key not in error.value]
        return f"{missing[0]} is missing"
    key = error.path[1]
    value = "empty" if error.value == "" else repr(error.value)
    percent = _PERCENT.fullmatch(str(error.value))
    cure = f"; {error.value} is {float(percent[1]) / 100:g}" if percent else ""
    return f"{key} is {value}, but must be {properties[key]['description']}{cure}"
