"""Config and samples: one line for each error, before any job runs."""

import gzip
import os
import random
import re
import subprocess
import sys
import time
from itertools import takewhile
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from tests.conftest import ROOT
from virnucpro.config import DEFAULTS, PROPERTIES, check_config, read_samples, read_training
from virnucpro.data.fasta import BEGINNING
from virnucpro.errors import UserError

CONFIG_README = ROOT / "config" / "README.md"
SCHEMAS = ROOT / "workflow" / "schemas"


def test_defaults_are_filled_in() -> None:
    config: dict[str, Any] = {"samples": "samples.tsv", "chunk_size": 300}
    check_config(config)
    assert config["chunk_size"] == 300
    assert (config["outdir"], config["token_budget"], config["layers"]) == ("results", "auto", "auto")


@pytest.mark.parametrize(
    ("key", "value", "message"),
    [
        ("tokenbudget", 4096, "unknown key tokenbudget; do you mean token_budget?"),
        ("chunk_size", "long", "chunk_size is 'long', but must be a whole number of bases from 3"),
        ("chunk_size", 2, "chunk_size is 2, but must be"),
        ("chunk_size", 500.5, "chunk_size is 500.5, but must be"),
        ("chunk_size", True, "chunk_size is True, but must be"),
        ("precision", "double", "precision is 'double', but must be one of auto, float32"),
        ("token_budget", 1, "token_budget is 1, but must be auto or a whole number"),
        ("token_budget", None, "token_budget is None, but must be auto"),
        ("layers", [], "layers is .., but must be auto, or a list of layers' numbers"),
        ("layers", [1, "last"], "layers is .1, 'last'., but must be auto, or a list of layers' numbers"),
        (
            "token_budget",
            3_000_000_000,
            "token_budget is 3000000000, but must be .* to 2147483584, since",
        ),
        ("per_residue", "perhaps", "per_residue is 'perhaps', but must be true or false"),
        ("call", "2024-13-45", "call is '2024-13-45', but must be true or false"),
        ("layers", "[0", "layers is '.0', but must be auto, or a list"),
        ("long_proteins", "drop", "long_proteins is 'drop', but must be one of cut, windows"),
        ("prior", "10%", "prior is '10%', but must be auto or a number between 0 and 1; 10% is 0.1"),
        ("max_fdr", "2.5 %", "max_fdr is '2.5 %', but must be a number between 0 and 1; 2.5 % is 0.025"),
        ("prior", "1e3", "prior is 1000.0, but must be auto or a number"),
        ("outdir", "", "outdir is empty, but must be the path"),
        ("outdir", "a}b", "outdir is 'a}b', but must be the path of a folder, without braces"),
        ("model", "bra{c}.pt", "model: bra{c}.pt: Snakemake would replace the {c} in this path; rename"),
        ("classifier", "{ a.b , x}", "classifier: .*: Snakemake would replace the { a.b , in"),
        ("training", "<results>.tsv", "training: <results>.tsv: Snakemake would replace the <results> in"),
    ],
)
def test_a_wrong_value_is_named(key: str, value: object, message: str) -> None:
    with pytest.raises(UserError, match=rf"^config: {message}") as caught:
        check_config({"samples": "samples.tsv", key: value})
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("preset", [["virnucpro-300"], {"a": 1}, None, 3])
def test_a_preset_of_another_type_is_named(preset: object) -> None:
    with pytest.raises(UserError, match=r"^config: preset is .*, but must be one of virnucpro-300"):
        check_config({"samples": "samples.tsv", "preset": preset})


def in_itself() -> list[Any]:
    held: list[Any] = [1]
    held.append(held)
    return held


@pytest.mark.parametrize("value", [in_itself(), [[1], in_itself(), in_itself()], yaml.safe_load("&a [*a, *a]")])
def test_a_list_in_itself_is_refused(value: object) -> None:
    with pytest.raises(UserError, match=r"^config: a list has too many levels, or holds itself; config/README"):
        check_config({"samples": "samples.tsv", "layers": value})


def test_text_of_many_levels_is_refused() -> None:
    with pytest.raises(UserError, match=r"^config: chunk_size is '{{{.*, but must be a whole number"):
        check_config({"samples": "samples.tsv", "chunk_size": "{" * 5_000})


def test_a_path_with_nul_is_refused(folder: Path) -> None:
    with pytest.raises(UserError, match=r"^config: model: 'a\\x00b': no path holds the character NUL; remove it"):
        check_config({"samples": "samples.tsv", "model": "a\0b"})
    with pytest.raises(UserError, match=r"line 2: sample soil: 'soil.fa\\x00': no path holds the character NUL"):
        samples(folder, "sample\tfasta\nsoil\tsoil.fa\0\n")


@pytest.mark.parametrize("name", ["a" * 15_000, "{[" * 4_000, "ab" * 101])
def test_a_long_name_is_refused_at_once(folder: Path, name: str) -> None:
    start = time.process_time()
    with pytest.raises(UserError, match=r"line 2: sample is .* a name for a folder, of up to 200 letters"):
        samples(folder, f"sample\tfasta\n{name}\tsoil.fa\n")
    assert time.process_time() - start < 5


def test_texts_are_read_as_yaml_where_no_text_is_wanted() -> None:
    texts = {"call": "false", "layers": ["0", "-1"], "genetic_codes": "[1, 4]", "chunk_size": "300", "seed": 7.0}
    config: dict[str, Any] = {"samples": "1", "outdir": "true", "device": "cpu", "token_budget": "4096"} | texts
    check_config(config)
    wanted = {"call": False, "layers": [0, -1], "genetic_codes": [1, 4], "chunk_size": 300, "seed": 7}
    assert config == DEFAULTS | {"samples": "1", "outdir": "true", "device": "cpu", "token_budget": 4096} | wanted
    assert isinstance(config["seed"], int)


@pytest.mark.parametrize(("text", "prior"), [("1e-3", 0.001), ("1E-3", 0.001), ("1.e-3", 0.001), ("2.5e-2", 0.025)])
def test_numbers_may_have_an_exponent(text: str, prior: float) -> None:
    config: dict[str, Any] = {"samples": "t.tsv", "prior": text, "outdir": "1e-3"}
    check_config(config)
    assert (config["prior"], config["outdir"]) == (prior, "1e-3")


def test_braces_that_snakemake_leaves_alone_may_stay() -> None:
    config = {"samples": "samples.tsv", "model": "{3F2504E0-4F89}/a{b}c d}{.pt<1>"}
    with pytest.raises(UserError, match=r"the {b} in"):
        check_config(config)
    config["model"] = "{3F2504E0-4F89}/a{b c}}{.pt<1>"
    check_config(config)


def test_an_outdir_that_leaves_no_room_for_names_in_it() -> None:
    longest = "/" + "ab/" * 1_166 + "c"
    check_config({"samples": "t.tsv", "outdir": longest})
    with pytest.raises(UserError, match=r"^config: outdir is a path of 3,501 bytes; give one of 3,500 or less$"):
        check_config({"samples": "t.tsv", "outdir": f"{longest}d"})


@pytest.mark.parametrize("outdir", ["file", "file/below", "file/far/below"])
def test_an_outdir_that_is_a_file_or_below_one(folder: Path, outdir: str) -> None:
    (folder / "file").touch()
    with pytest.raises(UserError, match=rf"^config: outdir is {outdir}, but file is a file; give the path of a folder"):
        check_config({"samples": "samples.tsv", "outdir": outdir})
    check_config({"samples": "samples.tsv", "outdir": str(folder / "new" / "below")})


@pytest.fixture(params=["a" * 256 + ".fa", "circle.fa", "pipe.fa"])
def refused(request: pytest.FixtureRequest, folder: Path) -> tuple[str, str]:
    """A path that no command can read, and the reason."""
    (folder / "circle.fa").symlink_to("circle.fa")
    os.mkfifo(folder / "pipe.fa")  # nobody writes into it
    reasons = {
        "circle.fa": "Too many levels of symbolic links; give the path of the file itself",
        "pipe.fa": "a pipe or a device, and input is read more than once; write it to a file first",
    }
    return request.param, reasons.get(request.param, "File name too long; give a shorter path")


@pytest.mark.parametrize("key", sorted(key for key, rules in PROPERTIES.items() if rules.get("type") == "string"))
def test_a_key_with_a_path_that_nobody_can_read(refused: tuple[str, str], key: str) -> None:
    path, reason = refused
    with pytest.raises(UserError, match=rf"^config: {key}: {path}: {reason}$"):
        check_config({"samples": "samples.tsv", key: path})


def test_a_cell_with_a_path_that_nobody_can_read(folder: Path, refused: tuple[str, str]) -> None:
    path, reason = refused
    with pytest.raises(UserError, match=rf"^samples.tsv: line 2: sample x: {path}: {reason}$"):
        samples(folder, f"sample\tfasta\nx\t{path}\n")
    with pytest.raises(UserError, match=rf"^samples.tsv: line 2: sample x: {path}: {reason}$"):
        samples(folder, f"sample\tfasta\tgenes\nx\ta.fa\t{path}\n")
    (folder / "training.tsv").write_text(f"fasta\tlabel\tgroup\n{path}\tviral\tg\n")
    with pytest.raises(UserError, match=rf"^training.tsv: line 2: {path}: {reason}$"):
        read_training(Path("training.tsv"))


def test_samples_are_needed() -> None:
    with pytest.raises(UserError, match=r"^config: samples is missing"):
        check_config({})


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "a.fa").write_text(">a\nACGT\n")
    return tmp_path


def samples(folder: Path, text: str) -> Any:
    (folder / "samples.tsv").write_text(text)
    return read_samples(Path("samples.tsv"))


def test_reads_samples(folder: Path) -> None:
    table = samples(folder, "fasta\tsample\ttype\na.fa\tNA\t\na.fa\t1.2\tproteins\n")
    assert table.loc["NA"].to_dict() == {"sample": "NA", "fasta": "a.fa", "type": "contigs", "genes": ""}
    assert table.loc["1.2", "type"] == "proteins"


def test_what_spreadsheets_write_around_a_table_is_passed_over(folder: Path) -> None:
    text = '\ufeff\nsample \tfasta\t\t\r\nx\ta.fa\r\n\t \t\t\r\n\r\n"y"\t"a.fa"\t\t\r\n\t\t\t\t\t\r\n'
    table = samples(folder, text)
    columns = {"sample": ["x", "y"], "fasta": ["a.fa"] * 2, "type": ["contigs"] * 2, "genes": [""] * 2}
    assert table.to_dict("list") == columns
    with pytest.raises(UserError, match=r"^samples.tsv: line 6: sample is 'y!', but must"):
        samples(folder, text.replace('"y"', "y!"))


def test_a_fasta_that_looks_like_an_option_is_named_from_the_root(folder: Path) -> None:
    (folder / "-dash.fna").write_text(">a\nACGT\n")
    table = samples(folder, "sample\tfasta\nx\t-dash.fna\ny\ta.fa\n")
    assert table["fasta"].tolist() == [str(folder / "-dash.fna"), "a.fa"]


def test_a_training_with_braces_in_a_path_is_refused(folder: Path) -> None:
    (folder / "a{b}.fa").write_text(">a\nACGT\n")
    (folder / "training.tsv").write_text("fasta\tlabel\tgroup\na.fa\tviral\tg\na{b}.fa\tviral\th\n")
    with pytest.raises(UserError, match=r"^training.tsv: line 3: a{b}.fa: Snakemake would replace the {b} in"):
        read_training(Path("training.tsv"))


def test_a_mask_is_spans_of_one_record(folder: Path) -> None:
    path, header = Path("training.tsv"), "fasta\trecord\tlabel\tgroup\tmask\na.fa\tr\tviral\tg\t\n"
    path.write_text(header + "a.fa\t\tcellular\th\t1-20\n")
    with pytest.raises(UserError, match=r"^training.tsv: line 3: mask holds spans of one record; name the record"):
        read_training(path)
    path.write_text(header + "a.fa\tr\tcellular\th\t1..20\n")
    with pytest.raises(UserError, match=r"^training.tsv: line 3: mask is '1\.\.20', but must be spans of the record"):
        read_training(path)
    rows = [f"a.fa\tr{n}\t{label}\t{label}{n}\t{n}-20,30-40\n" for n in (1, 2) for label in ("viral", "cellular")]
    path.write_text(header + "".join(rows))
    assert read_training(path)["mask"].tolist() == ["", "1-20,30-40", "1-20,30-40", "2-20,30-40", "2-20,30-40"]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "not a table of samples: it is empty"),
        ("\n\t\n", "not a table of samples: it is empty"),
        ('sample\tfasta\nx\t"a.fa\n', "not a table of samples: unexpected end of data"),
        ("sample\tfasta\n\nx\ta.fa\tcontigs\n", "line 3: 'contigs' stands in a column without a name"),
        ("sample\t\tfasta\nx\tcontigs\ta.fa\n", "line 2: 'contigs' stands in a column without a name"),
        ("sample\tfasta\tsample\nx\ta.fa\ty\n", "line 1: a second column sample; the columns are"),
        (
            "sample\tfasta\nx\tbra{sample}.fa\n",
            "line 2: sample x: bra{sample}.fa: Snakemake would",
        ),
        ("sample\tfasta\n", "no samples in it"),
        ("sample\tfasta\tlane\nx\ta.fa\t1\n", "line 1: unknown column lane; the columns are sample, fasta, type"),
        ("sample,fasta\nx,a.fa\n", "line 1: unknown column sample,fasta; .* separated by tabs"),
        ("sample\nx\n", "line 1: no column fasta"),
        ("sample\tfasta\nx y\ta.fa\n", "line 2: sample is 'x y', but must be a name for a folder"),
        ("sample\tfasta\nx/y\ta.fa\n", "line 2: sample is 'x/y', but must be a name"),
        ("sample\tfasta\n..\ta.fa\n", "line 2: sample is '..', but must be a name"),
        ("sample\tfasta\nx\ta.fa\nx\ta.fa\n", "line 3: sample x is there twice"),
        ("sample\tfasta\nx\ta.fa\n\ta.fa\n", "line 3: sample is missing"),
        ("sample\tfasta\nx\t\n", "line 2: fasta is missing"),
        ("sample\tfasta\tgenes\nx\ta.fa\ta.fa\n", "line 2: sample x: a.fa: FASTA, not GFF3 or GenBank"),
        ("sample\tfasta\tgenes\nx\ta.fa\tb.gff\n", "line 2: sample x: b.gff: no such file"),
        ("sample\tfasta\tgenes\ttype\nx\ta.fa\tb.gff\tproteins\n", "line 2: sample x: genes go with contigs"),
        ("sample\tfasta\ttype\nx\ta.fa\treads\n", "line 2: type is 'reads', but must be one of contigs, proteins"),
        ("sample\tfasta\nx\tb.fa\n", "line 2: sample x: b.fa: no such file"),
        ("sample\tfasta\nx\t.\n", "line 2: sample x: .: a folder"),
        ("sample\tfasta\nx\t/\n", "line 2: sample x: /: a folder"),
        ("sample\tfasta\nx\tsamples.tsv\n", "line 2: sample x: samples.tsv: not FASTA"),
        ("sample\tfasta\nlogs\ta.fa\n", "line 2: sample is 'logs', but must be"),
    ],
)
def test_a_wrong_table_is_one_line(folder: Path, text: str, message: str) -> None:
    with pytest.raises(UserError, match=rf"^samples\.tsv: {message}") as caught:
        samples(folder, text)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("kind", "content", "message"),
    [
        ("contigs", b">p\nMKTAY\nIAKQR\n", "line 3: 'I' in p is no IUPAC nucleotide code; .* says type proteins"),
        ("contigs", b">a\nACGT\n>b\nACGT\n>a\n", "line 5: two records are named a"),
        ("contigs", gzip.compress(b">a\n" + random.Random(0).randbytes(9000).hex().encode())[:-9], "cannot be read to"),
        ("proteins", b">a\n" + b"ACGT" * 20, "looks like nucleotides"),
    ],
    ids=["proteins as contigs", "duplicate ids", "truncated gzip", "contigs as proteins"],
)
def test_a_file_that_begins_wrong_is_refused(folder: Path, kind: str, content: bytes, message: str) -> None:
    (folder / "b.fa").write_bytes(content)
    with pytest.raises(UserError, match=rf"^samples\.tsv: line 3: sample y: b\.fa: {message}"):
        samples(folder, f"sample\tfasta\ttype\nx\ta.fa\t\ny\tb.fa\t{kind}\n")


def test_the_beginning_alone_is_read(folder: Path, caplog: pytest.LogCaptureFixture) -> None:
    (folder / "a.fa").write_text(">none\n" + f">a\n{'ACGT' * BEGINNING}\n>odd\nACQT\n")
    samples(folder, "sample\tfasta\nx\ta.fa\n")
    assert caplog.text == "", "an empty record is for prepare to warn about"
    (folder / "a.fa").write_text(f">a_1\n{'ACGT' * (BEGINNING // 4 - 3)}\n>a_12\nAC\n>a_13\nAC\n")
    samples(folder, "sample\tfasta\nx\ta.fa\n")


def test_samples_are_read_where_biopython_is_missing(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "Bio.SeqIO.FastaIO", None)
    assert len(samples(folder, "sample\tfasta\nx\ta.fa\n")) == 1


@given(st.one_of(st.binary(), st.text("samplefatype\t\n\"',.0 é").map(str.encode)))
def test_no_bytes_of_a_table_make_a_traceback(folder: Path, content: bytes) -> None:
    (folder / "samples.tsv").write_bytes(content)
    with pytest.raises(UserError):
        read_samples(Path("samples.tsv"))


def test_a_missing_table_is_named(folder: Path) -> None:
    with pytest.raises(UserError, match=r"^config: samples: absent\.tsv: no such file"):
        read_samples(Path("absent.tsv"))


def documented_keys() -> dict[str, Any]:
    """Return the keys of config/README.md, in rows `| key | default | meaning |`, with their defaults."""
    lines = CONFIG_README.read_text().splitlines()
    found: dict[str, Any] = {}
    for number, line in enumerate(lines):
        if line.startswith("| key | default |"):
            for row in takewhile(lambda row: row.startswith("|"), lines[number + 2 :]):
                key, default, meaning = (cell.strip() for cell in row.strip("|").split("|", 2))
                assert re.fullmatch(r"`\w+`", key) and meaning, row
                assert key.strip("`") not in found, f"{key} is there twice"
                found[key.strip("`")] = None if default == "-" else yaml.safe_load(default.strip("`"))
    return found


def test_defaults_stand_in_the_schema_and_the_documentation_agrees() -> None:
    properties = yaml.safe_load((SCHEMAS / "config.schema.yaml").read_text())["properties"]
    defaults = {key: rules.get("default") for key, rules in properties.items()}
    assert documented_keys() == defaults
    committed = yaml.safe_load((ROOT / "config" / "config.yaml").read_text())
    assert committed == {"samples": "config/samples.tsv", "outdir": defaults["outdir"]}
    columns = yaml.safe_load((SCHEMAS / "samples.schema.yaml").read_text())["properties"]
    assert not [column for column in columns if f"| `{column}` |" not in CONFIG_README.read_text()]


FOREIGN = "samples: units.tsv\nthreads: 3\nmodel: random_forest\n"


def plan(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Run a dry run of Snakemake in a folder that prints the jobs' commands."""
    command = [sys.executable, "-m", "snakemake", "--snakefile", ROOT / "Snakefile", "--cores", "1", "-n", "-p"]
    command += ["--quiet", "host"]  # overrides the profile
    return subprocess.run([*command, *arguments], cwd=folder, capture_output=True, text=True)


@pytest.mark.parametrize("beside", [(ROOT / "config" / "config.yaml").read_text(), FOREIGN], ids=["clone's", "foreign"])
def test_a_preset_means_the_same_whatever_config_lies_in_the_working_folder(folder: Path, beside: str) -> None:
    (folder / "config").mkdir()
    (folder / "config" / "config.yaml").write_text(beside)
    (folder / "table.tsv").write_text("sample\tfasta\nx\ta.fa\n")
    (folder / "mine.yaml").write_text("samples: table.tsv\npreset: virnucpro-500\ncall: false\n")
    done = plan(folder, "--configfile", "mine.yaml")
    assert done.returncode == 0, done.stderr
    commands = done.stdout + done.stderr
    assert "fetch-model esm2_t36_3B_UR50D --output results/work/model.json" in commands
    assert "fetch-model DNABERT-S --output results/work/model_nucleotides.json" in commands
    assert "--proteins frames --chunk-size 500 --genetic-codes 1" in commands


def test_the_config_of_the_working_folder_is_read_where_no_samples_are_named(folder: Path) -> None:
    (folder / "config").mkdir()
    (folder / "config" / "config.yaml").write_text(FOREIGN)
    done = plan(folder)
    assert "virnucpro: error: config: unknown key threads" in done.stdout + done.stderr
    assert done.returncode == 1


def test_the_defaults_are_read_without_torch_or_pandas() -> None:
    code = "import sys, virnucpro.config; sys.exit('torch' in sys.modules or 'pandas' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], cwd=ROOT).returncode == 0
    assert (DEFAULTS["chunk_size"], DEFAULTS["max_sequence_length"], DEFAULTS["shard_tokens"]) == (500, 1022, 4_000_000)


def test_a_preset_sets_what_is_not_given() -> None:
    config: dict[str, Any] = {"samples": "s.tsv", "preset": "virnucpro-300", "model": "tiny", "precision": "float32"}
    check_config(config)
    wanted = {"model": "tiny", "nucleotide_model": "DNABERT-S", "proteins": "frames", "chunk_size": 300}
    assert config.items() >= (wanted | {"short_chunks": [], "precision": "float32"}).items()
    with pytest.raises(UserError, match="preset is 'virnucpro', but must be one of virnucpro-300, virnucpro-500"):
        check_config({"samples": "s.tsv", "preset": "virnucpro"})
