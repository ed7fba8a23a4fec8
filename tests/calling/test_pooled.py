"""viral.tsv and viral.fasta.gz of a run, from the tables and sequences of its samples."""

import gzip
import shutil
import subprocess
from pathlib import Path

import pandas as pd
import pytest
from Bio import SeqIO, bgzf

from virnucpro.calling.pooled import pool_regions
from virnucpro.calling.result_files import BLOCK, NAME_COLUMNS, REGION_COLUMNS
from virnucpro.data.tables import read_table, write_table
from virnucpro.errors import UserError

# Names, contigs and scores of regions; `a|b` of sample s and `b` of sample s|a cannot meet, since no sample has a `|`.
SAMPLES = {
    "soil": [("NA", "NA", "0.9000"), ("b|provirus_1_900", "b", "0.9999"), ("long", "long", "0.9000")],
    "empty": [],
    "soil.2": [("NA", "NA", "1.0000"), ("soil|NA", "soil|NA", "0.8000")],
}
LENGTHS = {"long": 2 * BLOCK + 7}


@pytest.fixture
def run(tmp_path: Path) -> Path:
    for sample, regions in SAMPLES.items():
        rows = []
        (tmp_path / sample).mkdir()
        with bgzf.BgzfWriter(tmp_path / sample / "viral.fasta.gz") as fasta:
            for at, (name, contig, score) in enumerate(regions):
                length = LENGTHS.get(name, 900 + at)
                row = dict.fromkeys([*REGION_COLUMNS, *NAME_COLUMNS], "") | {"name": name, "contig": contig}
                rows.append(row | {"score": score, "start": 1, "end": length, "length": length, "genes": 3})
                letters = (sample[-1].upper() + "ACGTTG" * length)[:length]
                lines = [letters[begin : begin + 60] for begin in range(0, length, 60)]
                fasta.write(f">{name} score={score}\n".encode() + "\n".join([*lines, ""]).encode())
        table = pd.DataFrame(rows, columns=[*REGION_COLUMNS, *NAME_COLUMNS])
        write_table(table, tmp_path / sample / "regions.tsv")
    return tmp_path


def pool(folder: Path) -> tuple[Path, Path]:
    table, fasta = folder / "viral.tsv", folder / "viral.fasta.gz"
    pool_regions(folder, list(SAMPLES), table, fasta)
    return table, fasta


def test_the_likeliest_are_first_in_both_files(run: Path) -> None:
    table, fasta = pool(run)
    rows = read_table(table, "name", "contig", "score")
    assert rows.columns.tolist() == ["sample", *REGION_COLUMNS, *NAME_COLUMNS]
    names = ["soil.2|NA", "soil|b|provirus_1_900", "soil|long", "soil|NA", "soil.2|soil|NA"]
    assert rows["name"].tolist() == names
    assert rows["contig"].tolist() == ["NA", "b", "long", "NA", "soil|NA"]
    assert rows["sample"].tolist() == ["soil.2", "soil", "soil", "soil", "soil.2"]
    assert rows["score"].tolist() == ["1.0000", "0.9999", "0.9000", "0.9000", "0.8000"]
    with gzip.open(fasta, "rt") as file:
        records = list(SeqIO.parse(file, "fasta"))
    assert [record.id for record in records] == names
    assert [record.description.split()[1] for record in records] == [f"score={score}" for score in rows["score"]]
    for record, sample, length in zip(records, rows["sample"], rows["length"], strict=True):
        assert record.seq == (sample[-1].upper() + "ACGTTG" * length)[:length]


@pytest.mark.skipif(not shutil.which("samtools"), reason="needs samtools: apt-get install samtools")
def test_samtools_finds_every_record(run: Path) -> None:
    _, fasta = pool(run)
    subprocess.run(["samtools", "faidx", fasta], check=True)
    index = pd.read_csv(f"{fasta}.fai", sep="\t", header=None)
    assert index[0].tolist() == read_table(run / "viral.tsv", "name")["name"].tolist()
    command = ["samtools", "faidx", fasta, f"soil|long:{2 * BLOCK}-{2 * BLOCK + 7}"]
    cut = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    assert cut.split("\n")[1] == ("L" + "ACGTTG" * BLOCK)[2 * BLOCK - 1 : 2 * BLOCK + 7]


def test_a_run_without_viruses_has_a_header_and_an_empty_fasta(run: Path) -> None:
    pool_regions(run, ["empty"], run / "viral.tsv", run / "viral.fasta.gz")
    assert len((run / "viral.tsv").read_text().splitlines()) == 1
    with gzip.open(run / "viral.fasta.gz", "rt") as file:
        assert file.read() == ""


def test_a_sample_without_sequences_has_rows_alone(run: Path) -> None:
    with bgzf.BgzfWriter(run / "soil" / "viral.fasta.gz"):
        pass
    table, fasta = pool(run)
    assert len(read_table(table, "name")) == 5
    with gzip.open(fasta, "rt") as file:
        assert [record.id for record in SeqIO.parse(file, "fasta")] == ["soil.2|NA", "soil.2|soil|NA"]


def test_a_missing_sequence_is_refused(run: Path) -> None:
    with bgzf.BgzfWriter(run / "soil" / "viral.fasta.gz") as sequences:
        sequences.write(b">NA score=0.9000\nACGT\n")
    with pytest.raises(UserError, match=r"do not match regions.tsv"):
        pool(run)


def test_sequences_of_other_regions_are_refused(run: Path) -> None:
    (run / "soil.2" / "viral.fasta.gz").write_bytes((run / "soil" / "viral.fasta.gz").read_bytes())
    with pytest.raises(UserError, match=r"do not match regions.tsv"):
        pool(run)
