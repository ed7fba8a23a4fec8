"""Keys of jobs: they depend on options, input files, and earlier jobs."""

from pathlib import Path
from typing import Any

import pytest

from virnucpro.calling.requirements import DEFAULT
from virnucpro.config import DEFAULTS
from virnucpro.encoders.names import TOKENIZER
from virnucpro.errors import UserError
from virnucpro.run import plan as plans
from virnucpro.run.outside import OutsideFiles
from virnucpro.run.plan import TRAINING, Plan, Training, plan_run

EMBEDDED = ("prepare", "embed", "merge")
SAMPLES = {"soil": "contigs", "gut": "contigs", "p": "proteins"}
CALLED = [("call", sample) for sample in ("soil", "gut")]
END = [("summary", ""), ("report", "")]
ALL = [("fetch_model", ""), ("token_budget", "")]
ALL += [(stage, sample) for stage in EMBEDDED for sample in SAMPLES] + CALLED + END
Key = tuple[str, str]


def after(stage: str, *samples: str) -> set[Key]:
    """Return the jobs of samples from a stage onward, and the jobs of the run."""
    stages = EMBEDDED[EMBEDDED.index(stage) :]
    called = [job for job in CALLED if job[1] in samples]
    return {*((name, sample) for name in stages for sample in samples), *called, *END}


class Made:
    """A plan of three samples that can be changed and made again."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.files = {name: folder / name for name in (*SAMPLES, "classifier.safetensors", "tiny.pt")}
        for name, path in self.files.items():
            path.write_text(f">{name}\nACGT\n")
        self.files["classifier.safetensors"].write_bytes(DEFAULT.read_bytes())
        self.config: dict[str, Any] = DEFAULTS | {
            "samples": "x",
            "outdir": "out",
            "model": str(folder / "tiny.pt"),
            "layers": [6],
        }
        self.references: list[Path] = []
        self.device = "cpu"

    def plan(self, training: Training | None = None) -> Plan:
        outside = OutsideFiles(self.folder / "digests.json")
        for path in filter(Path.is_file, self.folder.iterdir()):
            outside.look_at(path)
        samples = {name: (self.files[name], kind) for name, kind in SAMPLES.items()}
        classifier = self.files["classifier.safetensors"]
        return Plan(self.config, samples, classifier, outside, training, self.references, self.device)

    def keys(self) -> dict[Key, str]:
        plan = self.plan()
        return {job: plan.key(*job) for job in ALL}

    def changed(self, before: dict[Key, str]) -> set[Key]:
        return {job for job, key in self.keys().items() if key != before[job]}


@pytest.fixture
def made(tmp_path: Path) -> Made:
    return Made(tmp_path)


def test_nothing_changed_and_what_changes_no_result(made: Made) -> None:
    before = made.keys()
    assert len(set(before.values())) == len(ALL), "no two jobs have one key"
    assert not made.changed(before)
    made.config |= {"compile": not made.config["compile"], "outdir": "elsewhere", "report": False}
    made.config |= {"precision": "float32"}  # equals auto on a CPU
    moved = made.folder / "moved"
    made.files["soil"].rename(moved)
    made.files["soil"] = moved
    assert not made.changed(before)


@pytest.mark.parametrize(
    ("settings", "expected"),
    [
        ({"prior": 0.1}, {*CALLED, *END}),
        ({"min_length": 500}, {*CALLED, *END}),
        ({"per_residue": True}, after("embed", *SAMPLES)),
        ({"shard_tokens": 1}, after("prepare", *SAMPLES)),
        ({"max_sequence_length": 500}, after("prepare", *SAMPLES)),
        ({"token_budget": 2048}, {("token_budget", ""), *after("prepare", *SAMPLES)}),
        ({"precision": "bfloat16"}, {("token_budget", ""), *after("prepare", *SAMPLES)}),
        ({"layers": [5]}, set(ALL)),
        ({"proteins": "frames"}, after("prepare", *SAMPLES)),
        ({"chunk_size": 300}, set()),  # a setting of frames, and these are genes
        ({"call": False}, set(END)),  # calls stay as they are
    ],
)
def test_settings(made: Made, settings: dict[str, Any], expected: set[Key]) -> None:
    before = made.keys()
    made.config |= settings
    assert made.changed(before) == expected


def test_references_decide_calls_alone(made: Made) -> None:
    before = made.keys()
    made.references = [made.files["soil"], made.files["gut"]]
    assert made.changed(before) == {*CALLED, *END}
    before, key = made.keys(), made.plan().key("references")
    other = made.folder / "other.fa"
    other.write_text(">other\nACGT\n")
    made.references.append(other)
    assert made.changed(before) == {*CALLED, *END}
    assert made.plan().key("references") != key


def test_heads_decide_calls_alone_and_must_be_there(made: Made, tmp_path: Path) -> None:
    before = made.keys()
    made.config["heads"] = str(made.folder / "heads")
    (made.folder / "heads").write_text("heads")
    assert made.changed(before) == {*CALLED, *END}
    before = made.keys()
    (made.folder / "heads").write_text("other heads")
    assert made.changed(before) == {*CALLED, *END}
    table = made.folder / "samples.tsv"
    table.write_text(f"sample\tfasta\nsoil\t{made.files['soil']}\n")
    with pytest.raises(UserError, match="heads: missing: no such file"):
        plan_run({"samples": str(table), "heads": "missing"}, tmp_path / "memory")


def test_proteins_of_prodigal_are_called(made: Made, tmp_path: Path) -> None:
    header = ">a_1 # 1 # 300 # 1 # ID=1_1;partial=00"
    made.files["p"].write_text(f"{header}\nMKVLWA\n>a_2 # 400 # 700 # 1 # ID=1_2;partial=00\nMKVLWA\n")
    table = made.folder / "samples.tsv"
    table.write_text(f"sample\tfasta\ttype\np\t{made.files['p']}\tproteins\n")

    def planned(**settings: Any) -> Plan:
        return plan_run({"samples": str(table), **settings}, tmp_path / "memory")

    plan = planned()
    assert (plan.called, plan.final("p"), plan.proteins("p")) == (["p"], "call", "prodigal")
    assert plan.options("prepare", "p") == "--type prodigal --proteins genes"
    assert plan.screen("p"), "as for genes"
    for settings in ({"call": False}, {"proteins": "frames"}):
        plan = planned(**settings)
        assert (plan.called, plan.final("p"), plan.proteins("p")) == ([], "merge", "proteins")
    made.files["p"].unlink()
    assert planned().called == ["p"], "a file that is away keeps its results"


def test_settings_of_frames(made: Made) -> None:
    made.config["proteins"] = "frames"
    before = made.keys()
    made.config["chunk_size"] = 300
    assert made.changed(before) == after("prepare", "soil", "gut")


@pytest.mark.parametrize(
    ("name", "expected"),
    [("soil", after("prepare", "soil")), ("p", after("prepare", "p")), ("tiny.pt", set(ALL))],
)
def test_files_from_outside(made: Made, name: str, expected: set[Key]) -> None:
    before = made.keys()
    made.files[name].write_text(">other\nACGA\n")
    assert made.changed(before) == expected


def test_the_classifier_and_the_device(made: Made) -> None:
    before = made.keys()
    made.files["classifier.safetensors"].write_bytes(DEFAULT.read_bytes() + b" ")
    assert made.changed(before) == {*CALLED, *END}
    before = made.keys()
    (made.folder / "metrics.json").write_text("{}")
    assert made.changed(before) == {*CALLED, *END}, "the page shows what was measured"
    before = made.keys()
    made.device = "gpu"
    assert made.changed(before) == set(ALL) - {("fetch_model", "")}


@pytest.mark.parametrize(
    ("stage", "expected"),
    [
        ("call", {*CALLED, *END}),
        ("report", {("report", "")}),
        ("merge", after("merge", *SAMPLES)),
        ("fetch_model", set(ALL)),
    ],
)
def test_versions(made: Made, monkeypatch: pytest.MonkeyPatch, stage: str, expected: set[Key]) -> None:
    before = made.keys()
    monkeypatch.setitem(plans.VERSIONS, stage, 99)
    assert made.changed(before) == expected


def test_two_encoders(made: Made) -> None:
    (made.folder / TOKENIZER).write_text("{}")
    made.config |= {"proteins": "frames", "nucleotide_model": "DNABERT-S"}
    plan = made.plan()
    assert plan.encoders == ["", "_nucleotides"]
    assert plan.key("embed", "soil") == plan.key("embed", "soil", "_nucleotides"), "both read what prepare wrote"
    merged = [plan.key("merge", "soil", encoder) for encoder in plan.encoders]
    made.config["per_residue"] = True  # changes only files of residues
    plan = made.plan()
    now = [plan.key("merge", "soil", encoder) for encoder in plan.encoders]
    assert now[0] != merged[0]
    assert now[1] == merged[1]


def test_a_training_decides_calls_by_its_classifier(made: Made) -> None:
    sheet = made.folder / "sheet.tsv"
    sheet.write_text("1")
    training = Training(sheet, [made.files["gut"]], 4)
    made.config["outdir"] = str(made.folder / "out")
    given = made.plan(training).key("call", "soil")
    trained = made.folder / "out" / TRAINING / "classifier" / "classifier.safetensors"
    trained.parent.mkdir(parents=True)
    trained.write_bytes(DEFAULT.read_bytes())
    made.files["classifier.safetensors"] = trained
    before = [made.plan(training).key(*job) for job in (("train", TRAINING), ("call", "soil"), ("merge", "soil"))]
    assert before[1] != given
    sheet.write_text("2")
    now = [made.plan(training).key(*job) for job in (("train", TRAINING), ("call", "soil"), ("merge", "soil"))]
    assert [old == new for old, new in zip(before, now, strict=True)] == [False, False, True]


def test_results_are_named_from_where_snakemake_runs(made: Made, tmp_path: Path) -> None:
    names = []
    for folder in (tmp_path / "a", tmp_path / "b"):
        made.config["outdir"] = str(folder)
        names.append(made.plan().results(folder / "work").keys())
        assert made.plan().results(folder / "work")["../p "] == [folder / "p" / "embeddings.h5", folder / "work" / "p"]
    assert names[0] == names[1]


def test_shards_by_size(made: Made) -> None:
    made.files["soil"].write_text("A" * 50_000)
    made.config["shard_tokens"] = 1_000
    assert len(made.plan().shards("soil")) == 15
    assert made.plan().shards("gut") == ["0001"]


def test_genes_do_not_go_with_frames(tmp_path: Path) -> None:
    (tmp_path / "a.fa").write_text(">a\nACGT\n")
    (tmp_path / "a.gff").write_text("##gff-version 3\n")
    (tmp_path / "table.tsv").write_text(f"sample\tfasta\tgenes\nx\t{tmp_path / 'a.fa'}\t{tmp_path / 'a.gff'}\n")
    config = {"samples": str(tmp_path / "table.tsv"), "outdir": str(tmp_path / "out"), "proteins": "frames"}
    with pytest.raises(UserError, match=r"^config: proteins is frames, but sample x has genes; remove one$"):
        plan_run(config, tmp_path / "memory")


def test_a_changed_file_of_genes_concerns_its_sample(made: Made) -> None:
    genes = made.folder / "genes.gff"
    before = made.keys()
    sample = next(iter(SAMPLES))
    for text in ("one", "two"):
        genes.write_text(text)
        plan = made.plan()
        plan.genes = {sample: genes}
        after_change = {job: plan.key(*job) for job in ALL}
        assert {job for job in ALL if after_change[job] != before[job]} == after("prepare", sample)
        before = after_change
