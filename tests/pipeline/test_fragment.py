"""fragment: the choice of records, and input without enough to train on, which is refused before embedding."""

import gzip
import random
from pathlib import Path

import pandas as pd
import pytest

from virnucpro.errors import UserError
from virnucpro.pipeline.fragment import fragment

HEAD = "fasta\trecord\tlabel\tgroup\tkind\tsplit\n"


def random_dna(length: int) -> str:
    return "".join(random.Random(length).choices("ACGT", k=length))


def write_training(folder: Path, files: dict[str, dict[str, str]], rows: list[str]) -> Path:
    """Write FASTA files and the table of a training, whose rows name them; return the table."""
    for name, records in files.items():
        (folder / name).write_text("".join(f">{record}\n{sequence}\n" for record, sequence in records.items()))
    table = folder / "training.tsv"
    table.write_text(HEAD + "".join(f"{folder}/{row}\n" for row in rows))
    return table


def run(folder: Path, sheet: Path) -> pd.DataFrame:
    fragment(sheet, folder / "f.fna.gz", folder / "f.tsv", 100_000, 0)
    return pd.read_csv(folder / "f.tsv", sep="\t", keep_default_na=False)


CELLS = ["c.fa\tc0\tcellular\tc0\t\t", "c.fa\tc1\tcellular\tc1\t\t"]
GENOMES = {name: random_dna(200_000 + number) for number, name in enumerate(("c0", "c1", "v0", "v1", "v2"))}


def test_fragments_are_the_spans_that_the_table_says(tmp_path: Path) -> None:
    rows = ["v.fa\tv0\tviral\tv0\t\t", "v.fa\tv1\tviral\tv1\t\ttest", "v.fa\tv2\tviral\tv2\t\t", *CELLS]
    sheet = write_training(tmp_path, {"v.fa": GENOMES, "c.fa": GENOMES}, rows)
    table = run(tmp_path, sheet)
    lines = gzip.decompress((tmp_path / "f.fna.gz").read_bytes()).decode().split()
    assert lines[::2] == [f">{name}" for name in table["fragment"]]
    for row, sequence in zip(table.itertuples(), lines[1::2], strict=True):
        assert sequence == GENOMES[row.record][row.start : row.end]
    bases = (table["end"] - table["start"]).groupby(table["group"]).sum()
    assert bases[["c0", "c1", "v0", "v2"]].between(100_000, 140_000).all()
    assert 50_000 <= bases["v1"] < 90_000, "half for testing"


def test_a_record_of_two_rows_is_drawn_from_once(tmp_path: Path) -> None:
    rows = ["v.fa\tv0\tviral\tv\tphage\t", "v.fa\t\tviral\tv\tphage\t", "w.fa\t\tviral\tw\t\t", *CELLS]
    files = {"v.fa": {name: GENOMES[name] for name in ("v0", "v1")}, "w.fa": {"v2": GENOMES["v2"]}, "c.fa": GENOMES}
    table = run(tmp_path, write_training(tmp_path, files, rows))
    assert set(zip(table["record"], table["group"], table["kind"], strict=True)) == {
        *[("v0", "v", "phage"), ("v1", "v", "phage"), ("v2", "w", ""), ("c0", "c0", ""), ("c1", "c1", "")]
    }
    assert not table.duplicated(["record", "start"]).any()


@pytest.mark.parametrize(
    ("virus", "message"),
    [
        ("", "training: the records of group v0 are empty"),
        ("ACGT" * 100, "training: no viral fragment to train on has 500 bases or more"),
    ],
)
def test_what_cannot_be_trained_on_is_refused(tmp_path: Path, virus: str, message: str) -> None:
    rows = [f"v{number}.fa\t\tviral\tv{number}\t\t" for number in range(2)]
    files = {"v0.fa": {"r": virus}, "v1.fa": {"r": "ACGT" * 100}, "c.fa": GENOMES}
    sheet = write_training(tmp_path, files, [*rows, *CELLS])
    with pytest.raises(UserError, match=message):
        run(tmp_path, sheet)
    assert not (tmp_path / "f.tsv").exists()


def test_a_record_that_is_not_there_is_named(tmp_path: Path) -> None:
    rows = ["v.fa\tv0\tviral\tv0\t\t", "v.fa\tabsent\tviral\tv1\t\t", *CELLS]
    sheet = write_training(tmp_path, {"v.fa": GENOMES, "c.fa": GENOMES}, rows)
    with pytest.raises(UserError, match=r"v\.fa: no record absent, which the training sheet names"):
        run(tmp_path, sheet)
