"""The configuration and the table of samples, checked before any job starts."""

import warnings
from collections.abc import Iterator
from contextlib import suppress
from importlib.resources import files
from pathlib import Path
from typing import Any

import fastjsonschema
import pandas as pd
import yaml

from virnucpro.data.fasta import check_fasta
from virnucpro.data.records import READERS
from virnucpro.errors import UserError


def check_config(config: dict[str, Any], schema: Path) -> None:
    """Check a configuration against its schema, and fill in the defaults of what it does not say.

    Raises:
        UserError: a key is unknown, missing, or its value of the wrong type or range.
    """
    rules = yaml.safe_load(schema.read_text())
    unknown = sorted(map(str, config.keys() - rules["properties"].keys()))
    if unknown:
        known = ", ".join(rules["properties"])
        raise UserError(f"config: unknown key {', '.join(unknown)}; the keys are {known}")
    try:
        config.update(fastjsonschema.validate(rules, config))
    except fastjsonschema.JsonSchemaValueException as error:
        raise UserError(f"config: {_explain(error, rules['properties'])}; config/README.md explains it") from None


def read_samples(path: Path, schema: Path, read_files: bool = True) -> pd.DataFrame:
    """Read and check a table of samples, tab-separated.

    Args:
        path: the table.
        schema: of its rows.
        read_files: whether to read the beginning of every file it names, too.

    Returns:
        A row a sample, text columns `sample`, `fasta` and `type`, with the samples' names as index.

    Raises:
        UserError: the table cannot be read, a column or a value is wrong, a sample is there twice, or a file is
            missing, or begins with what prepare would refuse.
    """
    rows: dict[str, dict[str, str]] = {}
    for line, row in _checked_rows("samples", path, yaml.safe_load(schema.read_text())):
        if row["sample"] in rows:
            raise UserError(f"{path}: line {line}: sample {row['sample']} is there twice; names must be unique")
        try:
            if read_files:
                _check_beginning(Path(row["fasta"]), row["type"])
        except UserError as error:
            raise UserError(f"{path}: line {line}: sample {row['sample']}: {error}") from None
        rows[row["sample"]] = row
    return pd.DataFrame(rows.values()).set_index("sample", drop=False)


def read_training(path: Path, read_files: bool = True) -> pd.DataFrame:
    """Read and check a table of labelled FASTA files, tab-separated; it may have more columns than are needed.

    Args:
        path: the table.
        read_files: whether to read the beginning of every file it names, too.

    Returns:
        A row for each file or record: text columns `fasta`, `record` (empty: all), `label`, `group`, `host` and
        `split`.

    Raises:
        UserError: the table cannot be read, a value is wrong, a file is missing or begins with what prepare would
            refuse, or a group has two labels or is on both sides of the split.
    """
    seen: dict[str, dict[str, str]] = {}
    rows, checked = [], set()
    schema = files("virnucpro.data").joinpath("training.schema.yaml").read_text(encoding="utf-8")
    for line, row in _checked_rows("training", path, yaml.safe_load(schema)):
        first = seen.setdefault(row["group"], row)
        for column in ("label", "split"):
            if row[column] != first[column]:
                raise UserError(
                    f"{path}: line {line}: group {row['group']} is {row[column]} here and {first[column]} before; "
                    f"a group has one {column}"
                )
        if read_files and row["fasta"] not in checked:
            checked.add(row["fasta"])
            try:
                _check_beginning(Path(row["fasta"]), "contigs")
            except UserError as error:
                raise UserError(f"{path}: line {line}: {error}") from None
        rows.append(row)
    table = pd.DataFrame(rows)[["fasta", "record", "label", "group", "host", "split"]]
    for label in ("viral", "cellular"):
        groups = table.loc[(table["label"] == label) & (table["split"] == "train"), "group"].nunique()
        if groups < 2:
            raise UserError(f"{path}: {groups} {label} groups for training; it takes two or more, to hold one out")
    return table


def _checked_rows(key: str, path: Path, rules: dict[str, Any]) -> Iterator[tuple[int, dict[str, str]]]:
    """Yield the rows of a table with their lines, checked against a schema, with the defaults of what is empty."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error", pd.errors.ParserWarning)  # a row with more fields than the header
            table = pd.read_csv(
                path, sep="\t", dtype=str, keep_default_na=False, skip_blank_lines=False, index_col=False
            )
    except FileNotFoundError:
        raise UserError(f"config: {key}: {path}: no such file") from None
    except (ValueError, OSError, pd.errors.ParserWarning) as error:
        raise UserError(f"{path}: not a table of {key}: {str(error).strip()}") from None
    columns = rules["properties"]
    wrong = [column for column in table.columns if column not in columns] if "additionalProperties" in rules else []
    missing = [column for column in rules["required"] if column not in table.columns]
    if wrong or missing:
        problem = f"unknown column {', '.join(wrong)}" if wrong else f"no column {', '.join(missing)}"
        raise UserError(f"{path}: line 1: {problem}; the columns are {', '.join(columns)}, separated by tabs")
    if table.empty:
        raise UserError(f"{path}: no {key} in it")
    check = fastjsonschema.compile(rules)  # once: it writes and compiles code
    for line, row in enumerate(table.to_dict("records"), start=2):
        try:
            yield line, check({key: value for key, value in row.items() if value})
        except fastjsonschema.JsonSchemaValueException as error:
            raise UserError(f"{path}: line {line}: {_explain(error, columns)}") from None


def _check_beginning(fasta: Path, kind: str) -> None:
    check_fasta(fasta)
    with suppress(ModuleNotFoundError):  # Biopython, where only the jobs have an environment that holds it
        for _ in READERS[kind](fasta, beginning=True):
            pass


def _explain(error: fastjsonschema.JsonSchemaValueException, properties: dict[str, Any]) -> str:
    """Return which key is wrong and what its schema's description says that it must be."""
    if error.rule == "anyOf" and len(error.path) == 1:
        return "samples is missing"
    if error.rule == "required":
        missing = [key for key in error.rule_definition if key not in error.value]
        return f"{missing[0]} is missing"
    key = error.path[1]
    value = "empty" if error.value == "" else repr(error.value)
    return f"{key} is {value}, but must be {properties[key]['description']}"
