"""uv.lock is that of this pyproject.toml, and names public places only."""

import re
import tomllib
from urllib.parse import urlsplit

import pytest
from packaging.markers import Marker
from packaging.requirements import Requirement
from packaging.specifiers import SpecifierSet
from packaging.utils import canonicalize_name

from tests.distribution.test_distributions import ROOT

RENEW = "renew it: .venv/bin/uv lock"
PUBLIC = {"pypi.org", "files.pythonhosted.org"}


@pytest.fixture(scope="module")
def lock():
    return tomllib.loads((ROOT / "uv.lock").read_text(encoding="utf-8"))


@pytest.fixture(scope="module")
def project():
    return tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))


def plain(requirement, extra=""):
    """A requirement's name, extras, versions and marker, however they are spelled."""
    one = Requirement(requirement)
    markers = [f"extra == '{extra}'"] * bool(extra) + [str(one.marker)] * bool(one.marker)
    marker = str(Marker(" and ".join(markers))) if markers else ""
    return canonicalize_name(one.name), frozenset(one.extras), str(one.specifier), marker


def locked(entries):
    """The same of the entries of a lock."""
    return {
        (one["name"], frozenset(one.get("extras", ())), str(SpecifierSet(one.get("specifier", ""))),
         str(Marker(one["marker"])) if "marker" in one else "")
        for one in entries
    }  # fmt: skip


def test_it_is_of_this_project(lock, project):
    (own,) = [one for one in lock["package"] if one["name"] == "lightmamba"]
    wanted = {plain(text) for text in project["project"]["dependencies"]}
    for extra, texts in project["project"]["optional-dependencies"].items():
        wanted |= {plain(text, extra) for text in texts}
    assert locked(own["metadata"]["requires-dist"]) == wanted, RENEW
    for group, texts in project["dependency-groups"].items():
        found = locked(own["metadata"]["requires-dev"][group])
        assert found == {plain(text) for text in texts}, RENEW
    assert own["version"] == project["project"]["version"], RENEW
    assert lock["requires-python"] == project["project"]["requires-python"], RENEW


def test_every_version_is_one_that_is_asked_for(lock, project):
    versions: dict[str, list[str]] = {}
    for one in lock["package"]:
        versions.setdefault(one["name"], []).append(one["version"])
    texts = [*project["project"]["dependencies"], *project["dependency-groups"]["dev"]]
    for extra in project["project"]["optional-dependencies"].values():
        texts += extra
    for text in texts:
        name, _, allowed, _ = plain(text)
        for version in versions[name]:
            assert version in SpecifierSet(allowed), f"{name} {version}: {RENEW}"


def test_it_names_public_places_and_hashes(lock):
    text = (ROOT / "uv.lock").read_text(encoding="utf-8")
    hosts = {urlsplit(url).hostname for url in re.findall(r"[a-z]+://[^\"']+", text)}
    assert hosts == PUBLIC
    for one in lock["package"]:
        assert one["source"] in ({"registry": "https://pypi.org/simple"}, {"editable": "."})
        files = [*one.get("wheels", ()), *([one["sdist"]] if "sdist" in one else [])]
        assert files or "editable" in one["source"]
        assert all(file["hash"].startswith("sha256:") for file in files)
