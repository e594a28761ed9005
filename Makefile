# Two commands matter: `make demo` and `make test`. Each makes the environment it needs.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed

.PHONY: demo test lint types contract clients servers docs bench explore graphs lives mutants mutation quotas schema soak real crash crash-parquet crash-s3 crash-sql clean

$(STAMP): pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { echo "Headrace needs Python 3.11 or newer; name one: make PYTHON=python3.12 $(MAKECMDGOALS)"; exit 2; }
	@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check -e '.[dev]'
	@touch $@

demo: $(STAMP)
	@$(BIN)/python -m headrace.scenarios.examples.demo --out out

test: $(STAMP)
	@$(BIN)/python -m pytest -q -n 2 --dist worksteal

lint: $(STAMP)
	@$(BIN)/ruff check . && $(BIN)/ruff format --check .

# Types of the project, and what a user's type checker says of the user's code.
types: $(STAMP)
	@$(BIN)/mypy && HEADRACE_TYPES=1 $(BIN)/python -m pytest -q tests/typed

contract: $(STAMP)
	@PYTHONPATH=.typing $(BIN)/lint-imports

# Budgets beside peers, and what grows: about ten minutes; QUICK=1 two; KEEP=1 keeps the result and writes the page that shows it.
QUICK ?=
KEEP ?=
bench: $(STAMP)
	@$(BIN)/python -m tests.benchmarks $(if $(QUICK),--quick) $(if $(KEEP),--keep)

# All scenarios and random ones, with fresh seeds, or from one on: make explore FOR=600 (seconds) FIRST=1
FOR ?= 600
explore: $(STAMP)
	@$(BIN)/python -m tests.scenarios.explore --for $(FOR) $(if $(FIRST),--first $(FIRST))

# Random graphs of up to twelve nodes, with fresh seeds: make graphs N=10000
N ?= 10000
graphs: $(STAMP)
	@$(BIN)/python -m tests.scenarios.explore --graphs $(N)

# Random graphs with a journal, killed between any two messages and resumed: make lives KILLED=10000 (times)
KILLED ?= 10000
lives: $(STAMP)
	@$(BIN)/python -m tests.scenarios.explore --kills $(KILLED)

# How many plays it takes to catch each of the faults that are put into the actors.
mutants: $(STAMP)
	@$(BIN)/python -m tests.scenarios.test_mutants

# Small faults put into the actors, sampled, and which of them no test notices; SEED is the sample (an hour by default);
# ONLY="limits.rate_search limits.pace" puts them into these modules alone.
SEED ?= 1
ONLY ?=
mutation: FOR = 3600
mutation: $(STAMP)
	@$(BIN)/python -m tests.mutation --for $(FOR) --seed $(SEED) --only $(ONLY)

# How well the governor uses what the other side allows, over a grid of servers, in virtual time (some minutes).
SEEDS ?= 3
quotas: $(STAMP)
	@$(BIN)/python -m tests.benchmarks.quotas --seeds $(SEEDS)

# A week of one row a second, in virtual time; out/soak-a_week.html
soak: $(STAMP)
	@$(BIN)/headrace soak a_week --for 7d

# The demo's job, killed with SIGKILL at 200 random moments (some minutes).
KILLS ?= 200
crash: $(STAMP)
	@rm -rf out/crash && $(BIN)/python -m tests.system.crash --folder out/crash --kills $(KILLS)

# A job from a Parquet file to another, killed so often.
crash-parquet: $(STAMP)
	@rm -rf out/crash-parquet && $(BIN)/python -m tests.system.parquet_crash --folder out/crash-parquet --kills $(KILLS)

# A job from an object of S3 to others, killed so often.
crash-s3: $(SERVERS)/.installed
	@$(SERVERS)/bin/python -m tests.real.s3_crash --kills $(KILLS)

# A job from PostgreSQL to PostgreSQL (DATABASE=mariadb: MariaDB), killed with SIGKILL at 200 random moments (some minutes).
DATABASE ?= postgres
crash-sql: $(SERVERS)/.installed
	@$(SERVERS)/bin/python -m tests.real.sql_crash --kills $(KILLS) --database $(DATABASE)

# All scenarios on threads, in real time, against a real HTTP service (a quarter of an hour).
real: $(STAMP)
	@$(BIN)/headrace scenario run --real

# The verdicts on what the real clients raise (requests, openai, boto3, psycopg and others), in an environment of its own.
CLIENTS := .clients
$(CLIENTS)/.installed: pyproject.toml
	@test -x $(CLIENTS)/bin/python || $(PYTHON) -m venv $(CLIENTS)
	@$(CLIENTS)/bin/python -m pip install --quiet --disable-pip-version-check --upgrade 'pip>=25.1'
	@$(CLIENTS)/bin/python -m pip install --quiet --disable-pip-version-check --group clients -e .
	@touch $@

clients: $(CLIENTS)/.installed
	@$(CLIENTS)/bin/python -m pytest -q -W default -p no:cacheprovider --confcutdir tests/clients tests/clients

# Real servers on the loopback, in real time: quotas of nginx, an application on uvicorn, gunicorn and celery, which fork. In an
# environment of its own; nginx, redis-server and prometheus are Debian's packages. FOR is how long each quota is tried (the budgets: FOR=30).
SERVERS := .servers
$(SERVERS)/.installed: pyproject.toml
	@test -x $(SERVERS)/bin/python || $(PYTHON) -m venv $(SERVERS)
	@$(SERVERS)/bin/python -m pip install --quiet --disable-pip-version-check --upgrade 'pip>=25.1'
	@$(SERVERS)/bin/python -m pip install --quiet --disable-pip-version-check --group servers -e .
	@touch $@

servers: FOR = 10
servers: $(SERVERS)/.installed
	@HEADRACE_SERVERS_FOR=$(FOR) $(SERVERS)/bin/python -m pytest -q -W default -p no:cacheprovider --confcutdir tests/real tests/real

# The site of the pages in runtime/docs, in out/site, after every example in them and in the docstrings has been run; in an environment of its own.
# HEADRACE_DOCS=accept make docs: what the examples print now is written into the pages.
DOCS := .docs
$(DOCS)/.installed: pyproject.toml
	@test -x $(DOCS)/bin/python || $(PYTHON) -m venv $(DOCS)
	@$(DOCS)/bin/python -m pip install --quiet --disable-pip-version-check --upgrade 'pip>=25.1'
	@$(DOCS)/bin/python -m pip install --quiet --disable-pip-version-check --group docs -e '.[all]'
	@touch $@

docs: $(DOCS)/.installed
	@$(DOCS)/bin/python -m pytest -q -p no:cacheprovider --confcutdir tests/docs -p tests.docs.examples tests/docs runtime
	@$(DOCS)/bin/python -m tests.docs.site

# What is generated: the schema of scenario files, the histories that every Python must give.
schema: $(STAMP)
	@$(BIN)/python -m headrace.scenarios.schema
	@$(BIN)/python -m tests.scenarios.test_determinism

clean:
	rm -rf $(VENV) $(CLIENTS) $(SERVERS) $(DOCS) build dist *.egg-info out .mypy_cache .ruff_cache .pytest_cache .hypothesis
