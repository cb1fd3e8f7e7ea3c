"""What CI runs, one session for each kind of check.

`nox` alone runs lint, types, tests, conformance, plugins and docs, in minutes. The gate goes on with
`pythons` (3.12 and 3.13), `floor` (the lowest dependencies that are promised), `proof`, `mutants`,
`simulation`, `servers` and `fuzz`. On their own: `cluster`, `profiles`, `scheduler`, `crash`, `coverage`,
`bench`, `build`, `fmt` (formats instead of complaining) and `constraints` (renews the pinned set).
`setup` prepares `.venv` for work on the code; `test`, `unit` and `integration` are parts of what plain
`nox` runs.

Arguments after `--` go to pytest: `nox -s tests -- -x -k retry`; `-n0` keeps it in one process.
"""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import nox

ROOT = Path(__file__).parent
CONSTRAINTS = "constraints.txt"
GROUPS = nox.project.load_toml("pyproject.toml")["dependency-groups"]

# What a second Python can tell us that the first cannot; processes, pages and wheels are the same.
CORE_TESTS = ["tests/unit", "tests/runtime"]
CORE_NAMES = "not sqlite and not trio"
PROVEN = ["tests/contract", "tests/conformance", "tests/simulation"]
STORES = ["plugins/treadle-redis", "plugins/treadle-nats"]
# What the gate runs once a change, and plain `nox` does not; `simulation` plants the bugs.
SLOW = "(proof or slow) and not planted"
# Most tests wait for processes and clocks: two test processes a core take less than half the time.
PARALLEL = ("-n", str(2 * (os.cpu_count() or 1)))

nox.needs_version = ">=2025.5.1"
nox.options.default_venv_backend = "uv|virtualenv"
nox.options.download_python = "never"
nox.options.error_on_missing_interpreters = True
nox.options.reuse_venv = "yes"


def _candidates(version: str) -> Iterator[Path]:
    """Name every file that may be this Python: along PATH, then where pyenv keeps its own."""
    for folder in os.environ.get("PATH", os.defpath).split(os.pathsep):
        yield Path(folder) / f"python{version}"
    yield from sorted(Path.home().glob(f".pyenv/versions/{version}.*/bin/python{version}"))


def _answering(version: str) -> str | None:
    """Find an interpreter that says it is this version; a file of the right name may be a shim."""
    for candidate in _candidates(version):
        if shutil.which(candidate) is None:
            continue
        said = subprocess.run(
            [candidate, "-V"], capture_output=True, text=True, timeout=30, check=False
        )
        if said.returncode == 0 and said.stdout.startswith(f"Python {version}."):
            return str(candidate)
    return None


# 3.11 is always asked for: where none answers, nox says so and the gate is red.
MAIN_PYTHON = _answering("3.11") or "3.11"
OTHER_PYTHONS = {v: path for v in ("3.12", "3.13") if (path := _answering(v)) is not None}


def _group(name: str) -> list[str]:
    """List the requirements of a dependency group, without needing a new pip."""
    return list(nox.project.dependency_groups({"dependency-groups": GROUPS}, name))


def _distributions(folder: str) -> list[Path]:
    """Find the projects under a folder: each has its own pyproject.toml."""
    return sorted(found.parent for found in Path(folder).glob("*/pyproject.toml"))


def _install(session: nox.Session, group: str, *plugins: Path) -> None:
    """Install Treadle and a dependency group at the pinned versions; plugins only where they count."""
    paths = [part for path in plugins for part in ("-e", str(path))]
    session.install("-c", CONSTRAINTS, "-e", ".", *paths, *_group(group))


def _tools_of_plugins() -> list[str]:
    """List what the tests of the plugins need besides: servers, from wheels."""
    files = (nox.project.load_toml(p / "pyproject.toml") for p in _distributions("plugins"))
    return sorted({need for own in files for need in nox.project.dependency_groups(own, "test")})


def _pytest(session: nox.Session, paths: list[str], *options: str) -> None:
    """Run pytest on these paths, or on those that stand after `--`."""
    if any(Path(word.partition("::")[0]).exists() for word in session.posargs):
        paths = []
    session.run("python", "-m", "pytest", *options, *paths, *session.posargs)


def _present(*paths: str) -> list[str]:
    return [path for path in paths if Path(path).exists()]


@nox.session(python=MAIN_PYTHON)
def lint(session: nox.Session) -> None:
    """Check style, formatting and the news fragments."""
    session.install("-c", CONSTRAINTS, *_group("lint"))
    session.run("ruff", "check")
    session.run("ruff", "format", "--check")
    session.run("towncrier", "build", "--draft", "--version", "next", silent=True)


@nox.session(python=MAIN_PYTHON)
def types(session: nox.Session) -> None:
    """Check types twice: mypy and pyright, both strict."""
    _install(session, "types", *_distributions("plugins"))
    session.install("-c", CONSTRAINTS, *_tools_of_plugins())
    command = [f"{session.bin}/pyright", "--pythonpath", f"{session.bin}/python"]
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, text=True
    ) as pyright:  # on the other core
        roots = _present("src", "tests", "benchmarks", "noxfile.py")
        # The plugins need not check the core again.
        shared = [f"--config-file={ROOT / 'pyproject.toml'}", f"--cache-dir={ROOT / '.mypy_cache'}"]
        session.run("mypy", *roots, *map(str, Path("examples").glob("*.py")))
        for path in [*_distributions("plugins"), *_distributions("examples")]:
            with session.chdir(path):
                session.run("mypy", *shared, ".")
        said, _ = pyright.communicate()
    session.log(f"pyright: {said}")
    if pyright.returncode:
        session.error("pyright found errors")


@nox.session(python=MAIN_PYTHON)
def tests(session: nox.Session) -> None:
    """Run every test but those of `conformance` and `docs`; the slow ones wait for `proof`."""
    _install(session, "test")
    elsewhere = (f"--ignore={path}" for path in (*PROVEN, "tests/docs"))
    _pytest(session, ["tests"], *PARALLEL, "-m", "not (proof or slow)", *elsewhere)


def _core_tests(session: nox.Session) -> None:
    """Run the tests that another Python can break; real files and trio wait on the main one."""
    _install(session, "test")
    _pytest(session, CORE_TESTS, *PARALLEL, "-m", "not crash and not slow", "-k", CORE_NAMES)


for _version, _path in OTHER_PYTHONS.items():
    nox.session(python=_path, name=f"tests-{_version}", default=False)(_core_tests)


@nox.session(python=False, default=False)
def pythons(session: nox.Session) -> None:
    """Run the sessions of every other Python that answers."""
    for version in OTHER_PYTHONS:
        session.notify(f"tests-{version}")


@nox.session(python=MAIN_PYTHON)
def conformance(session: nox.Session) -> None:
    """Hold every broker to the contract, the kit to its own, and the worker to a hundred bad days."""
    _install(session, "test")
    _pytest(session, PROVEN, *PARALLEL, "-m", "not slow")


def _on_servers(session: nox.Session, paths: list[str], *options: str) -> None:
    """Run tests of the plugins, which start the servers that they need."""
    _install(session, "test", *_distributions("plugins"))
    session.install("-c", CONSTRAINTS, *_tools_of_plugins())
    _pytest(session, paths, *options)


@nox.session(python=MAIN_PYTHON)
def plugins(session: nox.Session) -> None:
    """Run the tests of the plugins, against real servers that they start."""
    _on_servers(session, ["plugins"], *PARALLEL, "-m", "not proof and not cluster")


@nox.session(python=MAIN_PYTHON, default=False)
def servers(session: nox.Session) -> None:
    """Prove the brokers of the plugins at length: 1,000 programs each, and Redis 7 beside Valkey."""
    _on_servers(session, STORES, *PARALLEL, "-m", "proof and not cluster")


@nox.session(python=MAIN_PYTHON, default=False)
def cluster(session: nox.Session) -> None:
    """Kill servers that have others beside them: Sentinel, Redis Cluster, three NATS servers.

    One test at a time, so that the gaps which they print (`-s` is set) are those of a failover.
    """
    _on_servers(session, STORES, "-m", "cluster", "-s")


@nox.session(python=MAIN_PYTHON, default=False)
def fuzz(session: nox.Session) -> None:
    """Ask the HTTP interface what its specification allows, and what it does not."""
    _on_servers(session, ["plugins/treadle-web"], "-m", "proof")


@nox.session(python=MAIN_PYTHON, default=False)
def profiles(session: nox.Session) -> None:
    """Send every curl line of the profiles to a real server, and their Postman collection."""
    _on_servers(session, ["plugins/treadle-profiles"])


@nox.session(python=MAIN_PYTHON)
def docs(session: nox.Session) -> None:
    """Run the code blocks of README and docs, check what must be documented, build the site."""
    _install(session, "docs")
    _pytest(session, ["tests/docs"])
    if Path("mkdocs.yml").exists():
        session.run("zensical", "build", "--clean", "--strict")


@nox.session(python=MAIN_PYTHON, default=False)
def floor(session: nox.Session) -> None:
    """Run the tests on the lowest versions that pyproject.toml allows; long ones tell nothing more there."""
    if session.venv_backend != "uv":
        session.error("only uv resolves to the lowest versions: install nox[uv]")
    session.install("--resolution", "lowest-direct", "-e", ".", *_group("test"))
    skipped = ("--ignore=tests/docs", "--ignore=tests/simulation")
    _pytest(session, ["tests"], *PARALLEL, "-m", "not (crash or proof or slow)", *skipped)


@nox.session(python=MAIN_PYTHON, default=False)
def proof(session: nox.Session) -> None:
    """Prove the brokers in the box: every part of the kit, 1,000 programs each, then both together.

    `nox -s proof -- 20000` runs as many programs as it says; an interrupted run goes on where it was.
    """
    _install(session, "test")
    session.install("-c", CONSTRAINTS, *_group("lint"))
    examples = session.posargs[0] if session.posargs else "1000"
    place = Path(session.create_tmp())
    urls = ["memory://", f"sqlite:///{place.resolve()}/proof.db"]
    for url in urls:
        kept = str(place / f"{url.partition(':')[0]}-{examples}.json")
        session.run("qrun", "verify", url, "--examples", examples, "--resume", kept)
    both = ("--differential", ",".join(urls))
    session.run("qrun", "verify", *both, "--examples", str(int(examples) // 2))
    session.run("python", "-m", "pytest", *PARALLEL, "tests", "--ignore=tests/docs", "-m", SLOW)


@nox.session(python=MAIN_PYTHON, default=False)
def mutants(session: nox.Session) -> None:
    """Show that the kit catches every one of its broken brokers."""
    _install(session, "test")
    session.run("python", "-m", "treadle.conformance.mutants", *session.posargs)


@nox.session(python=MAIN_PYTHON, default=False)
def simulation(session: nox.Session) -> None:
    """Run fleets of real workers on virtual time through faults of all kinds, one seed after another."""
    _install(session, "test")
    options = session.posargs or ["--seeds", "0:5000", "--processes", "2"]
    session.run("python", "-m", "treadle.testing.sim", *options)
    session.run("python", "-m", "pytest", *PARALLEL, "tests/simulation", "-m", "slow and planted")


@nox.session(python=MAIN_PYTHON, default=False)
def scheduler(session: nox.Session) -> None:
    """Fire schedules over every zone and each of its transitions from 2000 to 2037."""
    _install(session, "test")
    session.run("python", "-m", "pytest", "tests/property", "-m", "proof", *session.posargs)


@nox.session(python=MAIN_PYTHON, default=False)
def crash(session: nox.Session) -> None:
    """Run only the tests that kill real processes."""
    _install(session, "test")
    _pytest(session, ["tests"], "-m", "crash")


@nox.session(python=False, default=False)
def setup(session: nox.Session) -> None:
    """Install Treadle, its plugins and every tool into `.venv`, for work on the code."""
    session.run("python3", "-m", "venv", ".venv", external=True)
    sources = [word for path in (".", *_distributions("plugins")) for word in ("-e", str(path))]
    tools = [*(tool for group in GROUPS for tool in _group(group)), *_tools_of_plugins()]
    session.run(
        ".venv/bin/python", "-m", "pip", "install", "-q", "-c", CONSTRAINTS, *sources, *tools
    )


@nox.session(python=False, default=False)
def test(session: nox.Session) -> None:
    """Run what `tests` runs."""
    session.notify("tests")


@nox.session(python=MAIN_PYTHON, default=False)
def unit(session: nox.Session) -> None:
    """Run the tests that need no process, file or server."""
    _install(session, "test")
    _pytest(session, ["tests/unit", "tests/property"], *PARALLEL, "-m", "not (proof or slow)")


@nox.session(python=False, default=False)
def integration(session: nox.Session) -> None:
    """Run the tests that start real servers, and those that kill real processes."""
    session.notify("servers")
    session.notify("crash")


@nox.session(python=MAIN_PYTHON, default=False)
def coverage(session: nox.Session) -> None:
    """Measure which lines of the core the tests reach, in worker processes too."""
    _install(session, "coverage")
    session.run("coverage", "erase")
    session.run("coverage", "run", "-m", "pytest", "tests", *session.posargs)
    session.run("coverage", "combine")
    session.run("coverage", "report")


@nox.session(python=MAIN_PYTHON, default=False)
def bench(session: nox.Session) -> None:
    """Measure speed and size beside the raw loop of the same run; nothing here is a test."""
    session.install("-c", CONSTRAINTS, "-e", ".[speed]", "-e", "plugins/treadle-web")
    session.run("python", "-m", "benchmarks", *session.posargs)
    session.run("python", "-m", "benchmarks.http")


@nox.session(python=MAIN_PYTHON, default=False)
def build(session: nox.Session) -> None:
    """Build the wheel and the source distribution into `dist/`."""
    session.install("-c", CONSTRAINTS, "hatchling")
    session.run("python", "-m", "hatchling", "build", "--clean")


@nox.session(python=MAIN_PYTHON, default=False)
def fmt(session: nox.Session) -> None:
    """Format the code and mend what ruff can mend."""
    session.install("-c", CONSTRAINTS, *_group("lint"))
    session.run("ruff", "check", "--fix-only")
    session.run("ruff", "format")


@nox.session(python=MAIN_PYTHON, default=False)
def constraints(session: nox.Session) -> None:
    """Renew `constraints.txt`: one `name==version` a line, nothing else."""
    session.install("uv")
    own = [ROOT, *(ROOT / path for path in _distributions("plugins"))]
    wanted = Path(session.create_tmp()) / "wanted.in"
    extras = ",".join(nox.project.load_toml("pyproject.toml")["project"]["optional-dependencies"])
    lines = [f"-e {ROOT}[{extras}]", *(f"-e {path}" for path in own[1:])]
    wanted.write_text("\n".join([*lines, *_group("dev"), *_tools_of_plugins(), ""]))
    session.run(
        *("uv", "pip", "compile", str(wanted), "--upgrade", "--quiet", "--python", MAIN_PYTHON),
        *(f"--no-emit-package={path.name}" for path in own[1:]),
        "--no-emit-package=treadle",
        *("--no-header", "--no-annotate", "--no-emit-index-url", "--no-emit-find-links"),
        *("--output-file", CONSTRAINTS),
        silent=True,
    )
