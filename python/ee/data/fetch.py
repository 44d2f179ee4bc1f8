# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""Source packages by name from the package registries of the machine, unpacked without being installed.

Debian packages come by `apt-get download` and `dpkg-deb -x`, Python ones by `pip download` of the source archive.
A package that lies in the cache is not asked for again, so a filled cache needs no network.
"""

import hashlib
import os
import re
import shutil
import subprocess
import sys
import tarfile
import tempfile
from dataclasses import dataclass
from pathlib import Path

from ..errors import UserError


@dataclass(frozen=True)
class Package:
    """One downloaded package: `archive` as it came from the registry, `root` the folder it is unpacked in."""

    registry: str  # "debian" or "pypi"
    name: str
    version: str
    archive: Path
    root: Path

    def facts(self) -> dict:
        """What the manifest records: enough to see whether another machine read the same bytes."""
        named = {"registry": self.registry, "name": self.name, "version": self.version}
        return named | {"file": self.archive.name, "sha256": sha256(self.archive)}


def sha256(path: Path) -> str:
    """SHA-256 of a file's bytes, in hex."""
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def default_cache() -> Path:
    """$XDG_CACHE_HOME/adaptive-ee/data, by default under ~/.cache."""
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "adaptive-ee" / "data"


def _run(command: list[str], cwd: Path, what: str) -> str:
    """stdout of `command`; `what` begins the one-line error when it is missing or fails."""
    if shutil.which(command[0]) is None:
        raise UserError(f"{what}: needs the program {command[0]}, which is not installed")
    done = subprocess.run(command, cwd=cwd, capture_output=True, text=True, env=os.environ | {"LC_ALL": "C"})
    if done.returncode:
        last = (done.stderr.strip() or done.stdout.strip() or f"exit status {done.returncode}").splitlines()[-1]
        advice = "put the file into the cache folder or leave the source out with --sources"
        raise UserError(f"{what}: the registry did not give it ({last}); {advice}")
    return done.stdout


def _one(cache: Path, pattern: str, what: str) -> Path | None:
    """The one file of the cache that matches; two versions side by side would make the result depend on file order."""
    found = sorted(cache.glob(pattern))
    if len(found) > 1:
        raise UserError(f"{cache}: {len(found)} files match {pattern}; keep one version of {what}")
    return found[0] if found else None


def _unpacked(archive: Path, cache: Path, extract) -> Path:
    """The folder `archive` is unpacked in, named by its content; appears whole or not at all."""
    root = cache / "unpacked" / f"{archive.name.split('_')[0]}-{sha256(archive)[:16]}"
    if not root.is_dir():
        root.parent.mkdir(parents=True, exist_ok=True)
        temporary = Path(tempfile.mkdtemp(prefix=".unpack.", dir=root.parent))
        try:
            extract(temporary)
            os.replace(temporary, root)
        finally:
            shutil.rmtree(temporary, ignore_errors=True)
    return root


def debian(name: str, cache: Path) -> Package:
    """The Debian package `name`. A name with a star, such as linux-doc-*, is the package its stem depends on."""
    archive = _one(cache, f"{name}_*.deb", name)
    if archive is None:
        real = name
        if name.endswith("-*"):
            listed = _run(["apt-cache", "depends", name[:-2]], cache, f"Debian package {name[:-2]}")
            depends = re.findall(r"Depends: (\S+)", listed)
            real = next((d for d in depends if d.startswith(name[:-1])), "")
            if not real:
                raise UserError(f"Debian package {name[:-2]}: depends on no package named {name}")
        _run(["apt-get", "download", real], cache, f"Debian package {real}")
        archive = _one(cache, f"{name}_*.deb", name)
        if archive is None:
            raise UserError(f"Debian package {real}: apt-get download left no file in {cache}")
    fields = _run(["dpkg-deb", "-f", str(archive), "Package", "Version"], cache, archive.name)
    found = dict(line.split(": ", 1) for line in fields.splitlines())
    root = _unpacked(archive, cache, lambda to: _run(["dpkg-deb", "-x", str(archive), str(to)], cache, archive.name))
    return Package("debian", found["Package"], found["Version"], archive, root)


def pypi(name: str, version: str, cache: Path) -> Package:
    """The source archive of PyPI project `name` at exactly `version`; unpacked, never built or imported."""
    pattern = f"{name}-{version}.tar.gz"
    archive = _one(cache, pattern, name)
    if archive is None:
        pip = [sys.executable, "-m", "pip", "download", "--quiet", "--disable-pip-version-check", "--no-deps", "--no-binary", ":all:"]
        _run([*pip, "--dest", str(cache), f"{name}=={version}"], cache, f"PyPI project {name}")
        archive = _one(cache, pattern, name)
        if archive is None:
            raise UserError(f"PyPI project {name}: pip download left no {pattern} in {cache}")

    def extract(to: Path) -> None:
        with tarfile.open(archive) as tar:
            tar.extractall(to, filter="data")

    return Package("pypi", name, version, archive, _unpacked(archive, cache, extract))
