"""Scripts that the site serves itself, from npm: exact versions, checked, cached."""

import base64
import hashlib
import shutil
import subprocess
import tarfile
import tempfile
from pathlib import Path

from translations.site import SiteError

# Version and integrity, as `npm view NAME@VERSION dist.integrity` gives it.
PACKAGES = {
    "mathjax": (
        "3.2.2",
        "sha512-Bt+SSVU8eBG27zChVewOicYs7Xsdt40qm4+UpHyX7k0/O9NliPc+x77k1/FEsPsjKPZGJvtR"
        "ZM1vO+geW0OhGw==",
    ),
    # Only the tests load this one: it looks for barriers to readers with a disability.
    "axe-core": (
        "4.14.1",
        "sha512-FHfa+lmNjQZfJz1q8wKqIDwC6DExcHt/pkjNQb09a3NPjCKg2rhu5qb2S4r76ASyFNNtuFoo"
        "JpZe37OgudVGtQ==",
    ),
}
FONTS = "output/chtml/fonts/woff-v2"


def package(name: str, cache: Path) -> Path:
    """The folder of an unpacked npm package, fetched unless cache has it.

    name: one of PACKAGES. Raises SiteError.
    """
    version, integrity = PACKAGES[name]
    place = cache.resolve() / f"{name}-{version}"
    if place.exists():
        return place
    place.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=place.parent) as folder:
        archive = _packed(f"{name}@{version}", folder)
        found = base64.b64encode(hashlib.sha512(archive.read_bytes()).digest())
        if f"sha512-{found.decode()}" != integrity:
            message = "is not the one that the site was tested with"
            raise SiteError(f"npm's {name} {version} {message}: remove npm's cache")
        with tarfile.open(archive) as content:
            # Python 3.11.4 brought the filter; this archive is known by its sum.
            safe = {"filter": "data"} if hasattr(tarfile, "data_filter") else {}
            content.extractall(folder, **safe)
        (Path(folder) / "package").rename(place)
    return place


def _packed(wanted: str, folder: str) -> Path:
    """The path of a package's archive in folder."""
    npm = shutil.which("npm")
    if not npm:
        message = "npm is not on PATH; install Node.js (https://nodejs.org)"
        raise SiteError(f"{wanted} is fetched by npm once, but {message}")
    command = [npm, "pack", wanted, "--silent", "--pack-destination", folder]
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode != 0:
        said = (done.stderr.strip() or "no reason given").splitlines()[0]
        raise SiteError(f"npm pack {wanted} failed: {said}")
    return Path(folder) / done.stdout.split()[-1]


def copy_mathjax(package: Path, folder: Path) -> None:
    """Copies what a page needs of MathJax's package into a new folder."""
    shutil.copytree(package / "es5" / FONTS, folder / FONTS)
    shutil.copy(package / "es5" / "tex-chtml.js", folder)
