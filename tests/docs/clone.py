"""Run the code blocks of a page in a fresh clone of this repository, as a reader would."""

import contextlib
import importlib.util
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import venv
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parent.parent.parent
BLOCK = re.compile(
    r"^(?:<!-- needs: (?P<needs>[^\n]*?) -->\n+)?```(?P<language>sh|bash|console|python)\n(?P<text>.*?)^```$",
    re.MULTILINE | re.DOTALL,
)
COMMAND = re.compile(r"^\$ (.*)\n((?:(?!\$ ).*\n)*)", re.MULTILINE)
MARK = "=== block at line"

# A replacement of pip without network: it checks that the extras exist and that the packages are installed here.
PIP = """
import importlib.metadata, re, sys, tomllib

command, *wanted = sys.argv[1:]
extras = tomllib.load(open("pyproject.toml", "rb"))["project"]["optional-dependencies"]
for name in wanted if command == "install" else sys.exit(f"pip {command}: only install is tested"):
    if name in ("--no-deps", "--editable", "-e"):
        continue
    if own := re.fullmatch(r"\\.(?:/\\w+)?(?:\\[(.*)\\])?", name):
        unknown = set(filter(None, (own[1] or "").split(","))) - extras.keys()
        sys.exit(f"unknown extras {unknown}") if unknown else None
    else:
        importlib.metadata.version(name)
"""


@dataclass(frozen=True)
class Block:
    """One code block of a page."""

    language: str
    text: str
    line: int
    missing: tuple[str, ...] = ()
    """Python modules and commands that the block needs and this machine lacks."""


def blocks(text: str) -> list[Block]:
    """Return all blocks of a Markdown text that must run. ``<!-- needs: redis, gcc -->`` above a block lists its needs."""
    found = []
    for match in BLOCK.finditer(text):
        needs = [name.strip() for name in (match["needs"] or "").split(",") if name.strip()]
        missing = tuple(name for name in needs if not (shutil.which(name) or importlib.util.find_spec(name)))
        line = text.count("\n", 0, match.start("language")) + 1
        found.append(Block(match["language"], match["text"], line, missing))
    return found


@dataclass(frozen=True)
class Clone:
    """A clone with an environment in ``.venv``, like the one that ``make parity`` installs."""

    folder: Path

    def run_page(self, text: str, scripts: Path) -> tuple[Block, ...]:
        """Run the blocks of a page in order, in one shell. Return the blocks that were skipped.

        If the page activates the environment itself, the shell starts without it; otherwise it is active from the start.

        Raises:
            AssertionError: a block fails, does not print what the page shows, or changes what git tracks.
        """
        scripts.mkdir()
        found = blocks(text)
        assert found, "the page has no block to run"
        port = free_port()
        lines = ["set -eo pipefail", 'trap "jobs -p | xargs -r kill" EXIT']
        if not any("source .venv/bin/activate" in block.text for block in found):
            lines.append("source .venv/bin/activate")
        expectations: list[tuple[str, str]] = []
        for block in found:
            if block.missing:
                continue
            code = re.sub(r"\b800([0-4])\b", lambda digit: str(port + int(digit[1])), block.text)
            if block.language == "console":
                for command, expected in COMMAND.findall(code):
                    lines += [marker(block), command]
                    expectations.append((f"{block.line}: {command}", expected))
                continue
            lines.append(marker(block))
            expectations.append((str(block.line), ""))
            if block.language == "python":
                script = scripts / f"{block.line}.py"
                script.write_text(code)
                code = f"python - < {script}"
            lines.append(code)
        output = self.bash("\n".join(lines))
        printed = re.split(rf"^{MARK} \d+\n", output, flags=re.MULTILINE)[1:]
        for (command, expected), shown in zip(expectations, printed, strict=True):
            check_output(shown, expected, command)
        assert not self.git("status", "--porcelain"), "the page changes files that git tracks, or leaves new ones"
        return tuple(block for block in found if block.missing)

    def bash(self, script: str, timeout: float = 600) -> str:
        """Run a script in the clone's folder and return its output. End all processes that it has started."""
        process = subprocess.Popen(
            ["bash", "-c", script],
            cwd=self.folder,
            env=environment(),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            start_new_session=True,
        )
        try:
            output, _ = process.communicate(timeout=timeout)
        finally:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
        assert process.returncode == 0, f"exit status {process.returncode}\n{output[-6000:]}"
        return output

    def git(self, *arguments: str) -> str:
        return git(self.folder, *arguments)


def marker(block: Block) -> str:
    """Return a command that prints a marker line, also after output without a final newline."""
    return f"echo; echo '{MARK} {block.line}'"


def check_output(output: str, expected: str, command: str) -> None:
    """Assert that the output has each line of the page; ``...`` at the end of a line stands for anything."""
    lines = output.splitlines()
    for line in expected.splitlines():
        wanted = line.removesuffix("...").rstrip()
        assert any(found.startswith(wanted) for found in lines), f"line {command} does not print: {line}\n{output}"


def environment() -> dict[str, str]:
    """Return the environment variables of a user's new shell, without an active Python environment."""
    own = str(Path(sys.executable).parent)
    path = [folder for folder in os.environ["PATH"].split(os.pathsep) if folder != own]
    dropped = ("PYTHONPATH", "PYTHONWARNINGS", "VIRTUAL_ENV", "MAKEFLAGS", "MAKELEVEL", "DEPLOY_SNN_TOKEN")
    kept = {name: value for name, value in os.environ.items() if name not in dropped and not name.startswith("PYTEST_")}
    return kept | {"PATH": os.pathsep.join(path), "OMP_NUM_THREADS": "1"}


def git(folder: Path, *arguments: str) -> str:
    identity = ("-c", "user.name=tests", "-c", "user.email=tests@localhost")
    return subprocess.run(["git", *identity, *arguments], cwd=folder, capture_output=True, text=True, check=True).stdout


def clone_working_tree(folder: Path) -> None:
    """Clone this repository, and commit its uncommitted changes in the clone."""
    git(ROOT, "clone", "--quiet", str(ROOT), str(folder))
    for name in git(ROOT, "ls-files", "--modified", "--others", "--deleted", "--exclude-standard").splitlines():
        (folder / name).unlink(missing_ok=True)
        if (ROOT / name).is_file():
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(ROOT / name, folder / name)
    git(folder, "add", "--all")
    if git(folder, "status", "--porcelain"):
        git(folder, "commit", "--quiet", "--message", "The working tree")


def add_environment(folder: Path) -> None:
    """Create ``.venv`` as ``make parity`` does, from this environment's packages and the clone's own deploy_snn."""
    home = folder / ".venv"
    venv.create(home, with_pip=False, symlinks=True)
    python = home / "bin" / "python"
    packages = home / "lib" / f"python{sys.version_info.major}.{sys.version_info.minor}" / "site-packages"
    installed = [path for path in sys.path if path.endswith("site-packages")]
    (packages / "clone.pth").write_text("\n".join([str(folder), *installed]))
    main = "import sys\nfrom deploy_snn.cli.main import main\nsys.exit(main())\n"
    for name, code in {"deploy-snn": main, "pip": PIP}.items():
        script = home / "bin" / name
        script.write_text(f"#!{python}\n{code}")
        script.chmod(0o755)
    for stamp in ("ort-cpu", "ort-gpu", "toolkit", "docs"):  # from old to new, since make compares their times
        (home / stamp).touch()


def free_port() -> int:
    """Return the first of five ports. This one is free, and the next four very probably are."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return min(int(free.getsockname()[1]), 65000)
