"""NOTICE names every file that is shipped besides Python, and nothing else."""

from fnmatch import fnmatchcase

from tests.distribution.test_distributions import ROOT, shipped


def named():
    """Patterns of NOTICE: what stands at the beginning of a line, with the text below it."""
    found: dict[str, str] = {}
    pending: list[str] = []
    for line in (ROOT / "NOTICE").read_text(encoding="utf-8").splitlines():
        if line.startswith("src/"):
            pending.append(line)
        elif line.startswith("    ") and pending:
            found |= dict.fromkeys(pending, line.strip())
            pending = []
    assert not pending, f"nothing is said of {pending}"
    return found


def matches(name, pattern):
    """Whether the pattern names the file; a star does not reach into folders."""
    return name.count("/") == pattern.count("/") and fnmatchcase(name, pattern)


def test_every_shipped_file_is_named_once():
    files = {f"src/{name}" for name in shipped() if not name.endswith(".py")}
    for name in sorted(files):
        by = [pattern for pattern in named() if matches(name, pattern)]
        assert len(by) == 1, f"{name} is named by {by or 'no line'} of NOTICE"
    for pattern in named():
        assert any(matches(name, pattern) for name in files), f"there is no {pattern} any more"


def test_the_pages_load_nothing_of_others():
    """Neither scripts, fonts nor styles come from elsewhere, so none needs a notice."""
    for page in ("serve/page.html", "study/report/page.html", "study/report/page.css"):
        text = (ROOT / "src/lightmamba" / page).read_text(encoding="utf-8")
        for foreign in ("<script src", "<link", "@import", "@font-face", "cdn"):
            assert foreign not in text, f"{page} has {foreign}"


def test_yosys_is_thanked_where_its_numbers_are():
    """The licence of yosys asks for its notice in all copies."""
    notice = (ROOT / "NOTICE").read_text(encoding="utf-8")
    assert "Permission to use, copy, modify, and/or distribute this software" in notice
    for file in (ROOT / "src/lightmamba/hardware/synth").glob("*.v"):
        assert "yosys" in file.read_text(encoding="utf-8")
