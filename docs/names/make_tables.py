"""Make functions.tsv.gz and lineage.tsv.gz, which `virnucpro train-names` reads, and the taxa of ICTV that ship.

    python docs/names/make_tables.py PROTEINS.tsv CLUSTERS.tsv COPIES.tsv VMR.tsv LINEAGE.tsv TRAINING.tsv

PROTEINS has id, product, category, source, accession and residues of labeled proteins; CLUSTERS the representative and
the member of each cluster at 30 % identity (`mmseqs easy-cluster proteins.faa out tmp --min-seq-id 0.3 -c 0.5
--cov-mode 1 -s 7 --cluster-reassign`, MMseqs2 14); COPIES
the same at 90 % (`--min-seq-id 0.9 -c 0.8`); VMR is ICTV's Virus Metadata Resource; LINEAGE has the taxa of
training records by accession or name; TRAINING is the table of training records.
"""

import re
import sys
from pathlib import Path
from typing import Any

import pandas as pd

RANKS = ["realm", "kingdom", "phylum", "class", "order", "family", "genus"]
MCP = "major capsid protein"
HEAD = [
    "terminase large subunit", "terminase small subunit", "portal protein", MCP, "head maturation protease",
    "scaffolding protein", "head decoration protein", "DNA ejection protein", "minor head protein",
    "head-tail connector", "head protein, other",
]  # fmt: skip
TAIL = [
    "tape measure protein", "tail assembly chaperone", "baseplate protein", "tail sheath protein",
    "major tail protein", "tail fiber protein", "minor tail protein", "tail terminator protein",
]  # fmt: skip
# A vague product allows several categories.
VAGUE = {
    "@tail": TAIL,
    "@head": HEAD[2:],
    "@structural": HEAD[2:] + TAIL,
    "@capsid or polyprotein": [MCP, "polyprotein"],
    "@baseplate or lysin": ["baseplate protein", "minor tail protein", "endolysin"],
    "@portal or connector": ["portal protein", "head-tail connector"],
    "@lysin or tail": ["endolysin", "minor tail protein"],
    "@polymerase or exonuclease": ["DNA polymerase", "exonuclease"],
    "@lysis": ["endolysin", "holin", "spanin"],
    "@protease": ["other", "head maturation protease"],
}
# Functions that cells have too: a cellular protein with such a product is both.
SHARED = {
    "DNA ligase", "DNA methyltransferase", "DNA polymerase", "Holliday junction resolvase", "RNA polymerase",
    "RecA-like recombinase", "dUTPase", "endolysin", "endonuclease", "exonuclease", "integrase",
    "primase or helicase", "ribonucleotide reductase", "single-stranded DNA-binding protein",
    "thymidylate synthase", "transposase", "reverse transcriptase", "annealing protein",
}  # fmt: skip
# The first pattern found in a product gives its category; an empty one leaves the protein out.
PATTERNS = [
    (r"Pfam-B|^Phage_cluster_\d+$|^gp\d+$|^ORF|NODE_|_gp\d+$|length_\d+|hypothetical|^VP1$|^(Tmp|Pre)[A-Z]$", ""),
    (r"DNA packaging protein$|phage protein$|virulence associated|conserved protein", ""),
    (r"^TerL", "terminase large subunit"),
    (r"Phage_cap_E|Phage_capsid|major head subunit", MCP),
    (r"PFAM-TMP_2|PhageMin_Tail|\bTMP\b", "tape measure protein"),
    (r"Phage_base", "baseplate protein"),
    (r"Phage_inte|integration/recombination", "integrase"),
    (r"Phage_prot_Gp6|Head-tail_con", "portal protein"),
    (
        r"Phage_GPA|capsid and replication|nicking at origin|Rep68|Relaxase|^A\*$|replication endonuclease",
        "Rep protein",
    ),
    (r"Capsid polyprotein|Gag poly", "@capsid or polyprotein"),
    (r"major non-capsid|clamp protein|nuclear shuttle|Pre-histone", "other"),
    (r"tail lysozyme|baseplate.*lysozyme|hub.*lysozyme", "@baseplate or lysin"),
    (r"Capsid readthrough|major spike|minor spike", ""),
    (
        r"tail.associated cell.wall|glycosyl hydrolase family 25|CHAP|tail lysin|tail protein with lysin|"
        r"tail associated lysin|transglycosylase SLT",
        "@lysin or tail",
    ),
    (r"depolymerase|neck appendage|Caudo_TAP|adhesin tip", "tail fiber protein"),
    (r"^NS\d|nonstructural|non-structural protein NS", "other"),
    (r"CHC2|AAA_25|Toprim|primease|UvrD", "primase or helicase"),
    (r"DNA polymerase exonuclease|DnaQ|proofreading", "@polymerase or exonuclease"),
    (
        r"exodeoxyribonuclease|RecB-like|PDDEXK|PD-\(D/E\)XK|recombination nuclease|recombination.related exonuc",
        "exonuclease",
    ),
    (r"endodeoxyribonuclease|NinG|group I intron|intron encoded", "endonuclease"),
    (r"lysis protein|Phage_lysis", "@lysis"),
    (r"NDP reductase|NTP reductase|Ribonuc_red", "ribonucleotide reductase"),
    (r"CLP_protease|Clp-like|ClpP-like", "@protease"),
    (r"inhibitor of prohead|protease inhibitor|head protein inhibitor|anti-?holin|co-holin|lysis inhib", ""),
    (r"tail length tape|tape.?measure(?!.*chaperone)|subunit and tail length", "tape measure protein"),
    (r"tape measure.*chaperone|tail (assembly )?chaperone", "tail assembly chaperone"),
    (
        r"terminase small|small terminase|terminase, small|Terminase_4|Phage_Nu1|Terminase_2\b",
        "terminase small subunit",
    ),
    (r"terminase,? endonuclease|Tripartite", ""),
    (r"terminase", "terminase large subunit"),
    (r"portal vertex auxil", ""),
    (r"portal", "portal protein"),
    (
        r"outer capsid|Intermediate capsid|inner capsid protein VP6|VP7|penton|hexon-|triplex|capsid vertex|"
        r"Capsomere|packaging protein",
        "head protein, other",
    ),
    (r"hexon protein", MCP),
    (
        r"(prohead|procapsid|maturation|capsid assembly|core protein) protease|prehrad protease|head and protease",
        "head maturation protease",
    ),
    (r"scaffold", "scaffolding protein"),
    (r"decoration|hoc-like", "head decoration protein"),
    (r"pilot|DNA ejection|internal virion|DNA transfer|injection", "DNA ejection protein"),
    (r"minor head|head morphogen|minor capsid|minor coat|capsid morphogen", "minor head protein"),
    (r"major (head|capsid)|\bMcp\b", MCP),
    (r"G8P|major coat protein|attachment protein G3P", ""),
    (r"head.tail|neck|head closure|tail completion|upper collar|head completion", "head-tail connector"),
    (r"baseplate|base plate", "baseplate protein"),
    (r"sheath(?!.*(stabil|termin))", "tail sheath protein"),
    (r"major tail|tail tube(?!.*(cap|initiator))", "major tail protein"),
    (
        r"tail (collar )?fib|tail.?spike|receptor.binding|straight fiber|fiber protein|lateral tail fib",
        "tail fiber protein",
    ),
    (r"minor tail|tail tip|distal tail|Min_?tail|tail-associated", "minor tail protein"),
    (r"tail termin", "tail terminator protein"),
    (r"tail", "@tail"),
    (r"virion structural|structural protein|virion component|virion-associated|virion protein", "@structural"),
    (r"membrane protein|lipoprotein$", ""),
    (r"head|capsid and scaffold|prohead", "@head"),
    (r"polyprotein", "polyprotein"),
    (r"Polymerase acidic|basic protein 2|^polymerase P[AB]2?$|^polymerase P[AB]2|PA-X", "other"),
    (
        r"RNA-dep|RNA-directed RNA|^Replicase|RdRp|\bL protein|^large protein|polymerase PB1|^polymerase( protein)?$|"
        r"RNA replicase|Large structural",
        "RNA-dependent RNA polymerase",
    ),
    (r"reverse transcriptase|^Protein P$", "reverse transcriptase"),
    (r"^(minor )?nucleo(protein|capsid)|^N protein|Nucleocapsid", "nucleoprotein"),
    (r"Matrix protein 2|^M2", "other"),
    (r"matrix protein", "matrix protein"),
    (r"movement", "movement protein"),
    (r"silencing", "silencing suppressor"),
    (
        r"replication initiation protein|Rep protein|Replication-associated|Initiator protein NS1|Master replication|"
        r"Para-Rep",
        "Rep protein",
    ),
    (r"replication initiation O|DNA replication initiation|^replication protein|DNA replication protein", ""),
    (r"DnaC-like|helicase loader|topoisomerase|RNA ligase", "other"),
    (r"primase|helicase", "primase or helicase"),
    (r"DNA polymerase (processivity|accessory|sliding)|sliding clamp|clamp loader|theta|gamma and tau", "other"),
    (r"DNA polymerase|DNA-directed DNA|DNA_pol", "DNA polymerase"),
    (r"RNA polymerase(?!.*(sigma|inhib|binding|associated|ribosyl|factor))|DNA-directed RNA", "RNA polymerase"),
    (r"RusA|RuvC|holl?iday|Resolvase OPG", "Holliday junction resolvase"),
    (r"integrase|tyrosine recombinase|site-specific|serine recombinase|PFAM-Resolvase", "integrase"),
    (r"excisionase|directionality|Cox", "excisionase"),
    (r"transpos", "transposase"),
    (r"annealing|RecT|Erf|recombination protein Bet|YqaJ", "annealing protein"),
    (r"UvsX|RecA|Sak4|recombinase ?a\b", "RecA-like recombinase"),
    (r"single.strand|ssDNA.binding|SSB", "single-stranded DNA-binding protein"),
    (r"methyltransferase|methylase", "DNA methyltransferase"),
    (r"thymidylate synth", "thymidylate synthase"),
    (r"ribonucleo.*reductase|ribonucleotide red", "ribonucleotide reductase"),
    (r"dUTP|deoxyuridine 5", "dUTPase"),
    (r"DNA ligase", "DNA ligase"),
    (r"exonuclease", "exonuclease"),
    (r"endonuclease|HNH|homing", "endonuclease"),
    (r"holin", "holin"),
    (r"spanin|Rz", "spanin"),
    (
        r"lysozyme|lysin|muramidase|amidase|transglycosylase|L-alan[yo]+l|cell wall hydrolase|acetylglucosaminidase|"
        r"peptidoglycan hydrolase|pseudomurein",
        "endolysin",
    ),
    (
        r"repressor|\bCro\b|\bCI\b|antitermin|transcription(al)? (regulat|activat|repress|factor)",
        "transcriptional regulator",
    ),
    (r"sigma", "other"),
]
# What is left, by the category that came with the protein.
REST = {"glycoprotein": "envelope glycoprotein", "repressor or regulator": "transcriptional regulator"}
REST |= {
    "major capsid": MCP,
    "head and packaging, other": "@head",
    "tail, other": "@tail",
    "connector": "head-tail connector",
}
FIRST = ("glycoprotein",)  # these stand as they came
FEWEST_GENOMES, MOST_SPREAD = 5, 1.25  # of a taxon whose lengths are given: complete genomes, and longest to shortest
SPLIT = {"Totiviridae", "Flaviviridae", "Hypoviridae", "Papillomaviridae"}  # no family of today, or mixed up


def category(product: str, given: str, residues: int) -> str:
    """Return the category of a protein, one of `VAGUE` where its product is vague, empty where it tells nothing."""
    if given in FIRST:
        return REST[given]
    if given == "major capsid" and re.search(
        r"^(capsid protein|coat protein|core|inner capsid|anchored)", product, re.I
    ):
        return MCP
    found = next((name for pattern, name in PATTERNS if re.search(pattern, product, re.I)), None)
    if given == "cellular":
        return f"cellular|{found}" if found in SHARED else "cellular"
    if found is None:
        found = REST.get(given, "other")
    if found == "head-tail connector" and residues > 350:  # T7's connector is a portal
        return "@portal or connector"
    return found


def functions(proteins: pd.DataFrame, clusters: pd.Series, copies: pd.Series) -> pd.DataFrame:
    """Return protein, source, accession, product, category (several joined by `|`), cluster and copies, where known."""
    rows = proteins[proteins["category"] != "unknown"]
    names = [category(*row) for row in zip(rows["product"], rows["category"], rows["residues"], strict=True)]
    table = rows.assign(category=[name if name not in VAGUE else "|".join(VAGUE[name]) for name in names])
    table = table[table["category"] != ""]
    table["cluster"], table["copies"] = (of.loc[table["id"]].to_numpy() for of in (clusters, copies))
    columns = ["protein", "source", "accession", "product", "category", "cluster", "copies"]
    return table.rename(columns={"id": "protein"})[columns]


def add_families(lineage: pd.DataFrame, training: pd.DataFrame, vmr: pd.DataFrame) -> pd.DataFrame:
    """Add viral records whose group names a family or class of ICTV, with the taxa down to it; species stay empty."""
    families = vmr[vmr["Family"] != ""].drop_duplicates("Family").set_index("Family", drop=False)
    tailed = vmr[vmr["Class"] == "Caudoviricetes"].iloc[0]
    known, rows = set(lineage["record"]), []
    for row in training[training["label"] == "viral"].itertuples():
        parts = row.group.split(":")
        family = next((part for part in reversed(parts) if part in families.index and part not in SPLIT), "")
        if row.record in known or not (family or "Caudoviricetes" in parts):
            continue
        of = families.loc[family] if family else tailed
        taxa = {rank: of[rank.title()] for rank in RANKS[: 6 if family else 4]}
        rows.append({"record": row.record, "how": "group", **taxa})
    table = pd.concat([lineage, pd.DataFrame(rows)]).fillna("")
    return table.drop_duplicates("record")[["record", "how", *RANKS, "species"]]


def complete_genomes(vmr: pd.DataFrame, training: pd.DataFrame) -> pd.DataFrame:
    """Return family, genus and length of the training's records that are complete genomes of one segment, by ICTV."""
    rows = vmr[vmr["Genome coverage"].str.startswith("Complete")]
    accessions = rows.melt(["Family", "Genus"], ["Virus GENBANK accession", "Virus REFSEQ accession"])
    accessions = accessions[accessions["value"].str.fullmatch(r"\w+")].drop_duplicates("value").set_index("value")
    records = training[training["label"] == "viral"].drop_duplicates("record")
    lengths = records["length"].astype(int).set_axis(records["record"].str.split(".").str[0])
    return accessions.join(lengths, how="inner")[["Family", "Genus", "length"]]


def lengths_of(genomes: pd.Series) -> dict[str, int]:
    """Return the number of complete genomes of a taxon, and the shortest and longest, if these resemble each other."""
    alike = len(genomes) >= FEWEST_GENOMES and genomes.max() <= MOST_SPREAD * genomes.min()
    return {"genomes": len(genomes), "shortest": genomes.min(), "longest": genomes.max()} if alike else {}


def taxa(vmr: pd.DataFrame, training: pd.DataFrame) -> pd.DataFrame:
    """Return ICTV's taxa, with genome type and host where 95 % of the species have the same, and lengths of genomes."""
    complete = complete_genomes(vmr, training)
    species = vmr.drop_duplicates("Species")
    host = species["Host source"].str.replace(r" \(S\)", "", regex=True).replace({"algae": "protists"})
    places = ["unknown", "soil", "freshwater", "marine", "sewage", "phytobiome", "air"]
    host = host.mask(host.isin(places), "").replace({"invertebrates, vertebrates": "animals"})
    host = host.replace({"invertebrates, plants": "invertebrates and plants"})
    animals = host.mask(host.isin(["vertebrates", "invertebrates"]), "animals")
    genome = species["Genome"]
    one_sense = genome.replace(r"^(ssRNA\(-\).*|ssRNA\(\+/-\))$", "ssRNA(-)", regex=True)
    strands = genome.replace(r"^ssDNA.*", "ssDNA", regex=True)
    rows = []
    for rank in RANKS:
        for taxon, members in species[species[rank.title()] != ""].groupby(rank.title()).groups.items():
            row = {"rank": rank, "taxon": taxon}
            row["genome"] = _shared([values.loc[members] for values in (genome, strands, one_sense)])
            row["host"] = _shared([values.loc[members] for values in (host, animals)])
            if rank in ("family", "genus"):
                row |= lengths_of(complete.loc[complete[rank.title()] == taxon, "length"])
            rows.append(row)
    return pd.DataFrame(rows).astype(dict.fromkeys(("genomes", "shortest", "longest"), "Int64"))


def _shared(columns: list[pd.Series]) -> str:
    """Return the value that 95 % of those that are known share, by the first column that has one."""
    for values in columns:
        share = values[values != ""].value_counts(normalize=True)
        if len(share) and share.iloc[0] >= 0.95:
            return str(share.index[0])
    return ""


def main() -> None:
    """Write the tables beside this file, and ICTV's taxa into the package."""
    read: Any = {"sep": "\t", "keep_default_na": False, "quoting": 3}
    proteins, *clusters, vmr, lineage, training = sys.argv[1:]
    members = [
        pd.read_csv(path, header=None, names=["cluster", "protein"], **read).set_index("protein")["cluster"]
        for path in clusters
    ]
    here, package = Path(__file__).parent, Path(__file__).parents[2] / "virnucpro" / "naming"
    virus_metadata, records = (pd.read_csv(path, **read) for path in (vmr, training))
    tables = {
        here / "functions.tsv.gz": functions(pd.read_csv(proteins, **read), *members),
        here / "lineage.tsv.gz": add_families(pd.read_csv(lineage, **read), records, virus_metadata),
        package / "ictv.tsv.gz": taxa(virus_metadata, records),
    }
    for path, table in tables.items():
        table.to_csv(path, sep="\t", index=False, quoting=3, compression={"method": "gzip", "mtime": 0})
        print(f"{path}: {len(table)} rows")


if __name__ == "__main__":
    main()
