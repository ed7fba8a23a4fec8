"""What proteins say of a contig: evidence, classifiers, calls and regions."""

CALLS = ("viral", "cellular", "unresolved")

# Highest false discovery rates of viral calls, by the names of geNomad's presets.
SENSITIVITIES = {"conservative": 0.05, "default": 0.1, "relaxed": 0.2}

# Shortest lengths, in bases, of the classes of contigs that a classifier is evaluated on.
LENGTHS = {"0.5 to 1.5 kb": 500, "1.5 to 3 kb": 1_500, "3 to 10 kb": 3_000, "from 10 kb": 10_000}

# What a call leaves in a sample's folder.
REGION_FILES = ("regions.tsv", "regions.gff3", "regions.bed", "viral.fasta.gz", "viral.gbk")
CALL_FILES = ("contigs.tsv", "genes.tsv", "genes.faa", "genes.gff3", *REGION_FILES, "miuvig.tsv")
# What the calls of all samples of a run leave in its folder.
POOLED_FILES = ("viral.tsv", "viral.fasta.gz")
# What a call by one of the original VirNucPro's classifiers leaves there too, as the original does.
PREDICTION_FILES = ("prediction_results.txt", "prediction_results_highestscore.csv")
