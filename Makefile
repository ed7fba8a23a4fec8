# make demo: virnucpro run on a small real sample.  make test: every check.  Both set up what they need in .venv first.
# make test-fast: the tests without Snakemake, browser, network and training, for who edits code: two minutes on two cores.
# Some use the small model, which a run of virnucpro leaves in the cache.
# make fuzz: damaged files for every reader, results in benchmarks/results/fuzz.md; MINUTES says for how long.
# make mutants: the tests run on small changes to data/, calling/ and proteins/, results in benchmarks/results/mutants.md;
# MUTANTS says how many.
# make docs: README and docs as a site in site/, with links and anchors checked.
# make integrations: linters of nf-core, Galaxy and WDL over integrations/; nf-core's needs Nextflow and github.com.
# make benchmark: embedding beside its peers, about twenty minutes on two cores; these go to .venv-benchmark and
# .venv-esm-cpp.  make benchmark-gpu: tests/gpu and the same on a machine with a GPU, in ten minutes, with the Python that
# is there: it needs torch, this package's dependencies, fair-esm, transformers and pytest, and no network.
PYTHON ?= python3
MINUTES ?= 60
MUTANTS ?= 300
TRAINING ?= results/training
nf-core := 4.2.1
planemo := 0.75.47
miniwdl := 1.16.0
VENV := .venv
FAST := $(addprefix tests/,data proteins calling naming encoders embedding pipeline \
	test_cli.py test_config.py test_examples.py test_packing.py)
export PATH := $(CURDIR)/$(VENV)/bin:$(PATH)

.PHONY: demo test test-fast lint docs integrations benchmark benchmark-finders benchmark-gpu fuzz mutants clean

demo: $(VENV)/.installed
	virnucpro run config/demo.fna.gz

test: $(VENV)/.installed-test .venv-multiqc/.installed lint
	OMP_NUM_THREADS=1 pytest -n $$(($$(nproc) + 1)) --dist loadscope  # one more than cores: tests of SLURM and kills wait

test-fast: $(VENV)/.installed-test
	OMP_NUM_THREADS=1 pytest -n auto --dist loadscope --ignore-glob='*/test_train*.py' -k 'not working_folder' $(FAST)

lint: $(VENV)/.installed-test
	ruff check .
	ruff format --check .
	mypy
	snakefmt --check Snakefile workflow
	snakemake --lint
	hadolint Containerfile

docs: .venv-docs/.installed
	.venv-docs/bin/mkdocs build

integrations: .venv-miniwdl/.installed .venv-planemo/.installed .venv-nf-core/.installed
	.venv-miniwdl/bin/miniwdl check --strict integrations/wdl/virnucpro.wdl
	.venv-planemo/bin/planemo shed_lint --tools --skip version_bumped --fail_level warn integrations/galaxy
	.venv-nf-core/bin/nf-core modules lint --dir integrations/nf-core virnucpro/run

benchmark: .venv-benchmark/.installed .venv-esm-cpp/.installed
	.venv-benchmark/bin/python benchmarks/embedding.py

benchmark-finders: $(VENV)/.installed-test
	PYTHONPATH=benchmarks python benchmarks/finders.py $(TRAINING)

benchmark-gpu:
	PYTHONPATH=. $(PYTHON) benchmarks/gpu.py

fuzz: $(VENV)/.installed-test
	OMP_NUM_THREADS=1 nice python benchmarks/fuzz.py --minutes $(MINUTES)

mutants: $(VENV)/.installed-mutants
	python benchmarks/mutants.py --mutants $(MUTANTS)

.venv-benchmark/.installed: pyproject.toml constraints.txt benchmarks/requirements.txt
	$(PYTHON) -m venv .venv-benchmark
	.venv-benchmark/bin/pip install --quiet --constraint constraints.txt --requirement benchmarks/requirements.txt --editable .
	touch $@

.venv-esm-cpp/.installed: benchmarks/requirements-esm-cpp.txt
	$(PYTHON) -m venv .venv-esm-cpp
	.venv-esm-cpp/bin/pip install --quiet --requirement $<
	touch $@

$(VENV)/.installed: pyproject.toml constraints.txt
	$(PYTHON) -m venv $(VENV)
	pip install --quiet --constraint constraints.txt --editable .
	touch $@

$(VENV)/.installed-test: $(VENV)/.installed
	pip install --quiet --constraint constraints.txt --editable '.[test]'
	touch $@

$(VENV)/.installed-mutants: $(VENV)/.installed-test
	pip install --quiet --constraint constraints.txt mutmut==3.8.1
	touch $@

.venv-multiqc/.installed:
	$(PYTHON) -m venv .venv-multiqc
	.venv-multiqc/bin/pip install --quiet multiqc==1.35
	touch $@

.venv-miniwdl/.installed .venv-planemo/.installed .venv-nf-core/.installed: .venv-%/.installed:
	$(PYTHON) -m venv .venv-$*
	.venv-$*/bin/pip install --quiet $*==$($*)
	touch $@

.venv-docs/.installed: constraints.txt
	$(PYTHON) -m venv .venv-docs
	.venv-docs/bin/pip install --quiet --constraint constraints.txt mkdocs
	touch $@

clean:
	rm -rf results .snakemake site
