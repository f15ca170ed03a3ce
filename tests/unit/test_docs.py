"""The documentation points at things that exist, leaves no page out, and describes every key of a site file."""

from __future__ import annotations

import re
import subprocess
import sys
from functools import cache
from pathlib import Path

import pytest

import federation
from federation.config import SiteConfig
from federation.config.sections import KEYS

ROOT = Path(__file__).parents[2]
INDEX = ROOT / "docs" / "README.md"
PAGES = sorted([*(ROOT / "docs").rglob("*.md"), *ROOT.glob("*.md")])

LINK = re.compile(r"(?<!!)\[[^\]]*\]\(([^()\s]+)\)|!\[[^\]]*\]\(([^()\s]+)\)")
NAMED_FILE = re.compile(r"`((?:[\w.-]+/)*[\w.-]+\.(?:py|md|proto))`")
UNFINISHED = re.compile(r"\b(?:TODO|FIXME|XXX|TBD)\b|lorem ipsum|\bcoming soon\b", re.IGNORECASE)
SOMEBODYS_MACHINE = re.compile(r"(?<![\w.:/~-])/(?:root|home|work|Users)/\w+")
TICKET = re.compile(r"(?:\bissue|\bticket|\bPR|\bpull request) ?#?\d+|(?<![\w&/])#\d+\b", re.IGNORECASE)


def prose(page: Path) -> str:
    """The text of a page without its code blocks and code spans."""
    return re.sub(
        r"`[^`\n]*`", "", re.sub(r"^```.*?^```", "", page.read_text(), flags=re.DOTALL | re.MULTILINE)
    )


@cache
def anchors(page: Path) -> frozenset[str]:
    """What can follow ``#`` in a link to this page, by GitHub's rule."""
    found: dict[str, int] = {}
    out = []
    text = re.sub(r"^```.*?^```", "", page.read_text(), flags=re.DOTALL | re.MULTILINE)
    for heading in re.findall(r"^#{1,6} +(.+?) *#*$", text, flags=re.MULTILINE):
        slug = re.sub(r"[^\w\- ]", "", re.sub(r"\[([^\]]*)\]\([^)]*\)", r"\1", heading).lower()).replace(
            " ", "-"
        )
        count = found.get(slug, 0)
        found[slug] = count + 1
        out.append(f"{slug}-{count}" if count else slug)
    return frozenset(out)


def links(page: Path) -> list[str]:
    text = re.sub(r"^```.*?^```", "", page.read_text(), flags=re.DOTALL | re.MULTILINE)
    return [link or image for link, image in LINK.findall(text)]


def local_links(page: Path) -> list[tuple[str, Path, str]]:
    """(as written, file, anchor) of every link that is not to another host."""
    out = []
    for target in links(page):
        if re.match(r"[a-z]+:", target):
            continue
        path, _, anchor = target.partition("#")
        out.append((target, (page.parent / path).resolve() if path else page, anchor))
    return out


each_page = pytest.mark.parametrize("page", PAGES, ids=[str(page.relative_to(ROOT)) for page in PAGES])


@each_page
def test_every_link_leads_somewhere(page: Path) -> None:
    for target, path, anchor in local_links(page):
        assert path.exists(), f"{target} is no file"
        if anchor:
            assert anchor in anchors(path), f"{target} is no heading"


@each_page
def test_every_file_named_is_there(page: Path) -> None:
    missing = []
    for name in NAMED_FILE.findall(page.read_text()):
        places = [ROOT / name, page.parent / name]
        if not any(place.exists() for place in places) and not any(ROOT.glob(f"[!.]*/**/{name}")):
            missing.append(name)
    assert not missing


@each_page
def test_nothing_is_left_unfinished(page: Path) -> None:
    assert not UNFINISHED.findall(page.read_text())


@each_page
def test_nothing_depends_on_where_it_was_written(page: Path) -> None:
    assert not SOMEBODYS_MACHINE.findall(page.read_text())
    assert not TICKET.findall(prose(page))


@each_page
def test_every_page_begins_with_its_title(page: Path) -> None:
    text = re.sub(r"\A(?:<!--.*?-->\s*)+", "", page.read_text(), flags=re.DOTALL)
    assert text.startswith("# ")


def test_the_index_links_every_page_of_the_documentation() -> None:
    linked = {path for _, path, _ in local_links(INDEX)}
    unlinked = [
        str(page.relative_to(ROOT)) for page in (ROOT / "docs").rglob("*.md") if page not in {*linked, INDEX}
    ]
    assert not unlinked


def test_decisions_are_numbered_without_a_gap() -> None:
    numbers = [int(path.name[:4]) for path in sorted((ROOT / "docs" / "decisions").glob("*.md"))]
    assert numbers == list(range(1, len(numbers) + 1))


@pytest.mark.parametrize("table", KEYS)
def test_every_key_of_a_site_file_is_documented(table: str) -> None:
    text = (ROOT / "docs" / "reference" / "site-toml.md").read_text()
    tables = {name for name in KEYS if name}
    for heading in tables:
        assert re.search(rf"^## `\[+{heading}\]+`$", text, flags=re.MULTILINE), heading
    section = text if not table else re.split(rf"^## `\[+{table}\]+`$", text, flags=re.MULTILINE)[1]
    section = section.split("\n## ")[0] if table else section
    for key in KEYS[table]:
        if key not in tables:
            assert f"| `{key}` |" in section, key


def test_every_example_of_a_site_file_is_valid() -> None:
    text = (ROOT / "docs" / "reference" / "site-toml.md").read_text()
    examples = re.findall(r"^```toml\n(.*?)^```", text, flags=re.DOTALL | re.MULTILINE)
    assert examples
    for example in examples:
        SiteConfig.parse(example, ROOT / "sites" / "example.toml")


def test_every_public_name_and_its_command_are_documented() -> None:
    text = (ROOT / "docs" / "reference" / "python-names.md").read_text()
    rows = [line.split("|")[1:-1] for line in text.splitlines() if line.startswith("| `")]
    assert sorted(federation.__all__) == federation.__all__
    assert sorted(name for row in rows for name in re.findall(r"`(\w+)`", row[0])) == federation.__all__
    headings = (ROOT / "docs" / "reference" / "cli.md").read_text()
    for row in rows:
        first, *others = re.findall(r"`([^`]+)`", row[2]) or [""]
        group = first.rpartition(" ")[0]
        for command in [first, *(f"{group} {other}" for other in others)] if first else ():
            assert f"## `federation {command.removesuffix(' --repair')}`" in headings, command


README_SAMPLE = """# Sample

<!-- command: test -->

```sh
python3 -m venv .venv && .venv/bin/pytest -n 2
```

<!-- tutorial -->
```sh
one
two
```

```sh
not marked
```

<!-- tutorial -->
```sh
three
```
"""


def readme_commands(what: str, readme: Path) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, str(ROOT / ".ci" / "readme-commands"), what, str(readme)]
    return subprocess.run(command, capture_output=True, text=True, check=False)


@pytest.mark.parametrize(
    ("what", "printed"),
    [("test", "python3 -m venv .venv && .venv/bin/pytest -n 2\n"), ("tutorial", "one\ntwo\nthree\n")],
)
def test_commands_of_the_readme_are_those_that_are_marked(tmp_path: Path, what: str, printed: str) -> None:
    readme = tmp_path / "README.md"
    readme.write_text(README_SAMPLE)
    done = readme_commands(what, readme)
    assert (done.returncode, done.stdout, done.stderr) == (0, printed, "")


@pytest.mark.parametrize(
    ("change", "what", "says"),
    [
        (("", ""), "demo", "no code block after <!-- command: demo -->"),
        (("-n 2", "-n 2\necho more"), "test", "single line"),
        (("one\n", "$ one\n"), "tutorial", "prompts"),
        (
            ("<!-- tutorial -->\n```sh\nthree", "<!-- tutorial -->\nthen\n```sh\nthree"),
            "tutorial",
            "2 comments",
        ),
    ],
)
def test_commands_of_the_readme_that_ci_would_miss_are_an_error(
    tmp_path: Path, change: tuple[str, str], what: str, says: str
) -> None:
    readme = tmp_path / "README.md"
    readme.write_text(README_SAMPLE.replace(*change))
    done = readme_commands(what, readme)
    assert done.returncode == 2
    assert done.stdout == ""
    assert says in done.stderr
