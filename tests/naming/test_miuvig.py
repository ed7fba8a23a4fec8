"""MIUViG fields of regions: vocabularies, and empty fields for unknown values."""

import pandas as pd
import pytest

from virnucpro.naming.miuvig import COLUMNS, genome_type, miuvig_table

LAMBDA = "Viruses;Duplodnaviria;Heunggongvirae;Uroviricota;Caudoviricetes;;;Lambdavirus"
DWV = "Viruses;Riboviria;Orthornavirae;Pisuviricota;Pisoniviricetes;Picornavirales;Iflaviridae;Iflavirus"
CONTIGS = pd.DataFrame(
    [("a", "DTR", 160), ("b", "circular", None), ("c", "ITR", 26), ("d", "", 127), ("e", "circular", None)],
    columns=["contig", "topology", "terminal_repeat"],
).astype({"terminal_repeat": "Int64"})
REGIONS = pd.DataFrame(
    [
        ("a", "a", 39_937, "DTR", LAMBDA, "genus", "0.981", "dsDNA"),
        ("b", "b", 10_140, "circular", DWV, "genus", "0.950", "ssRNA(+)"),
        ("c", "c", 5_386, "ITR", "", "", "", "ssDNA(+)"),
        ("d", "d", 3_000, "", "Viruses;Duplodnaviria", "realm", "0.990", ""),
        ("e|provirus_45001_81000", "e", 36_000, "provirus", "", "", "", ""),
    ],
    columns=["name", "contig", "length", "topology", "taxonomy", "taxon_rank", "taxon_score", "genome"],
).assign(taxon_length=["39000-48000", "11000-11500", "5386-6000", "", ""])


def made(regions: pd.DataFrame = REGIONS, gene_finder: str = "pyrodigal-gv;0.3.2;metagenomic mode") -> pd.DataFrame:
    settings = {"version": "0.1.0", "parameters": "max_fdr 0.1", "gene_finder": gene_finder, "references": "ICTV MSL41"}
    return miuvig_table(regions, CONTIGS, **settings)


def test_a_row_a_region_with_the_name_of_its_sequence() -> None:
    table = made()
    assert list(table.columns) == COLUMNS
    assert table["contig"].tolist() == ["a", "b", "c", "d", "e|provirus_45001_81000"]
    assert table["detec_type"].tolist() == ["independent sequence (UViG)"] * 4 + ["provirus (UpViG)"]
    assert set(table["number_contig"]) == {1}


def test_only_the_ends_of_a_whole_contig_predict_a_complete_genome() -> None:
    table = made()
    assert table["assembly_qual"].tolist() == ["High-quality draft genome"] * 3 + ["Genome fragment(s)"] * 2
    for unlike in ("", "45000-48000"):  # nothing is known of the taxon, or its genomes are longer
        short = made(REGIONS.assign(taxon_length=unlike))[["assembly_qual", "compl_appr"]].iloc[0]
        assert short.tolist() == ["Genome fragment(s)", ""]
    assert table["compl_appr"].tolist() == [
        "other: direct terminal repeat of 160 bp",
        "other: circular contig",
        "other: inverted terminal repeat of 26 bp",
        "",  # the repeat is as long as an assembler's k
        "",  # the host's contig is circular, not the provirus
    ]
    assert table["topology"].tolist() == ["DTR", "circular", "ITR", "", ""]


def test_taxonomy_gives_organism_and_method_and_nothing_where_it_is_not_known() -> None:
    table = made()
    assert table["organism"].tolist() == [
        *("Lambdavirus sp.", "Iflavirus sp.", "unclassified viruses", "Duplodnaviria sp.", "unclassified viruses")
    ]
    assert table["tax_class"].iloc[0] == "virnucpro 0.1.0 (ICTV MSL41, genus rank, probability 0.981)"
    assert table["tax_class"].tolist()[2::2] == ["", ""]
    assert table["pred_genome_struc"].tolist() == [
        *("non-segmented", "undetermined", "undetermined", "non-segmented", "undetermined")
    ]


def test_software_has_three_fields() -> None:
    table = made()
    assert set(table["vir_ident_software"]) == {"virnucpro;0.1.0;max_fdr 0.1"}
    assert set(table["feat_pred"]) == {"pyrodigal-gv;0.3.2;metagenomic mode"}
    assert set(made(gene_finder="")["feat_pred"]) == {""}


@pytest.mark.parametrize(
    ("of_ictv", "of_mixs"),
    [
        *(("dsDNA", "dsDNA"), ("dsDNA-RT", "dsDNA"), ("ssDNA", "ssDNA"), ("ssDNA(+/-)", "ssDNA"), ("dsRNA", "dsRNA")),
        *(("ssRNA(+)", "ssRNA(+)"), ("ssRNA(-)", "ssRNA(-)"), ("ssRNA(+/-)", "ssRNA"), ("ssRNA-RT", "ssRNA")),
        *(("ssRNA(-); ssRNA(+/-)", "ssRNA"), ("", "uncharacterized"), ("Viroid", "uncharacterized")),
    ],
)
def test_genome_types_of_ictv_in_terms_of_mixs(of_ictv: str, of_mixs: str) -> None:
    assert genome_type(of_ictv) == of_mixs


def test_a_sample_without_viruses_has_a_header() -> None:
    assert made(REGIONS[:0]).to_csv(sep="\t", index=False) == "\t".join(COLUMNS) + "\n"
