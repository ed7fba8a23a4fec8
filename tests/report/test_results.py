"""The lines on results at the end of a run."""

from pathlib import Path

from virnucpro.report.results import SHOWN, describe_results

HEAD = "contig\tlength\tcall\tscore\tlog_odds\tproviruses\ttaxonomy\n"
PROVIRUSES = {"b": 2}  # by the first letters of contigs
TAXA = {"a": "Viruses;Duplodnaviria;;Caudoviricetes;", "w": "Viruses"}


def write(folder: Path, sample: str, *rows: str) -> None:
    below = folder / sample
    below.mkdir(parents=True)
    (below / "contigs.tsv").write_text(
        HEAD + "".join(f"{row}\t{PROVIRUSES.get(row[0], 0)}\t{TAXA.get(row[0], '')}\n" for row in rows)
    )
    (below / "embeddings.h5").touch()


def test_the_likeliest_viruses_of_all_samples(tmp_path: Path) -> None:
    write(tmp_path, "soil", "a\t12000\tviral\t0.9100\t2.3", "b\t500\tcellular\t0.0100\t-5", 'q"\t9\tviral\t0.9990\t7.1')
    write(tmp_path, "gut", "wîde日\t1500\tviral\t0.9999\t9.1", "n\t0\tunresolved\t\t")
    (tmp_path / "summary.tsv").touch()
    (tmp_path / "proteome").mkdir()
    (tmp_path / "proteome" / "embeddings.h5").touch()
    text = describe_results(tmp_path, Path("results"), ["soil", "gut", "proteome"])
    assert text == (
        "the likeliest viruses of 3, with their scores, samples and taxa:\n"
        "  wîde日   1,500 bp  0.9999  gut   Viruses\n"
        '  q"           9 bp  0.9990  soil  not known\n'
        "  a       12,000 bp  0.9100  soil  Caudoviricetes\n"
        "\n"
        "3 viral, 1 cellular, 1 unresolved of 5 contigs in 2 samples\n"
        "proviruses within contigs that are not called viral: 2\n"
        "results/soil/contigs.tsv, embeddings.h5\n"
        "results/gut/contigs.tsv, embeddings.h5\n"
        "results/proteome/embeddings.h5\n"
        "results/summary.tsv\n"
    )


def test_many_contigs_and_many_samples(tmp_path: Path) -> None:
    names = [f"s{number}" for number in range(20)]
    for number, name in enumerate(names):
        write(tmp_path, name, *(f"c{number}_{row}\t9\tviral\t0.9\t{100 * row + number}" for row in range(5)))
    lines = describe_results(tmp_path, Path("out"), names).splitlines()
    shown = [line.split()[0] for line in lines[1 : SHOWN + 1]]
    assert shown == [f"c{number}_4" for number in range(19, 9, -1)]
    assert "and the same of 15 samples more" in lines
    assert len(lines) == SHOWN + 9


def test_no_virus(tmp_path: Path) -> None:
    write(tmp_path, "s", "a\t5\tcellular\t0.1\t-2")
    assert describe_results(tmp_path, Path("out"), ["s"]).splitlines() == [
        "0 viral, 1 cellular, 0 unresolved of 1 contigs in 1 sample",
        "out/s/contigs.tsv, embeddings.h5",
    ]
