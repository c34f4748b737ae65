#!/usr/bin/env python3
"""Checks every relative link and anchor of the pages, and that the site has every page of docs/.

    python check_links.py        # exit code 0: all lead somewhere; 1: those that do not, one a line

A link must lead to a file or folder of the repository, and its anchor to a heading of that page as GitHub and mdBook name it: lower case, letters, digits, `_` and `-`
stay, spaces become `-`, a heading that occurs again gets `-1`, `-2`, … What looks like a link in code is none. Addresses elsewhere are not looked at.

Needs Python 3.10.
"""

import re
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
SUMMARY = "docs/SUMMARY.md"

FENCE = re.compile(r"^ *(```+|~~~+).*?(?:^ *\1|\Z)", re.DOTALL | re.MULTILINE)
CODE = re.compile(r"(?<!`)(`+)(?!`)(?:(?!\n\s*\n).)+?(?<!`)\1(?!`)", re.DOTALL)
LINK = re.compile(r"\[((?:[^\[\]]|\[[^\[\]]*\])*)\]\(([^()\s]+)(?:\s+\"[^\"]*\")?\)")
HEADING = re.compile(r"^#{1,6} +(.*?) *#* *$", re.MULTILINE)


def pages():
    """The pages whose links are checked, below the top of the repository."""
    top = [ROOT / name for name in ("README.md", "ARCHITECTURE.md", "CONTRIBUTING.md", "CHANGELOG.md")]
    return [*top, *(page for folder in ("docs", "datasets", "checkpoints", "crates", "examples") for page in sorted((ROOT / folder).rglob("*.md")))]


def blanked(text, *patterns):
    """The text with as many spaces in the place of each match, so that whatever else is found stands where it stood."""
    for pattern in patterns:
        text = pattern.sub(lambda match: re.sub(r"[^\n]", " ", match[0]), text)
    return text


def links(text):
    """Matches of LINK outside of code: group 1 is the text, group 2 the address."""
    for match in LINK.finditer(blanked(text, FENCE, CODE)):
        # The text may hold code, which was blanked; the address holds none.
        yield LINK.match(text, match.start()) or match


def is_elsewhere(address):
    """Whether an address leaves the repository, as https://… and mailto:… do."""
    return re.match(r"[a-z][a-z0-9+.-]*:", address) is not None


def anchors(text):
    """The anchors of a page's headings."""
    found, counts = set(), {}
    for match in HEADING.finditer(blanked(text, FENCE)):
        words = LINK.sub(r"\1", match[1])
        name = re.sub(r"[^\w\- ]", "", words.lower()).replace(" ", "-")
        seen = counts.get(name, 0)
        counts[name] = seen + 1
        found.add(f"{name}-{seen}" if seen else name)
    return found


def broken(page, text):
    """Addresses on a page that lead nowhere."""
    for match in links(text):
        path, _, anchor = match[2].partition("#")
        if is_elsewhere(match[2]):
            continue
        target = (page.parent / path).resolve() if path else page
        if not target.exists() or not target.is_relative_to(ROOT):
            yield match[2]
        elif anchor and anchor not in anchors(text if target == page else target.read_text()):
            yield match[2]


def unlisted():
    """Pages of docs/ that the site does not have, or has twice."""
    listed = [match[2] for match in links((ROOT / SUMMARY).read_text())]
    for page in sorted((ROOT / "docs").rglob("*.md")):
        name = page.relative_to(ROOT / "docs").as_posix()
        if page != ROOT / SUMMARY and listed.count(name) != 1:
            yield name


def problems():
    for page in pages():
        yield from (f"{page.relative_to(ROOT)}: links to {address}, which is not there" for address in broken(page, page.read_text()))
    yield from (f"{SUMMARY}: lists {name} not once" for name in unlisted())


def main():
    found = list(problems())
    print("\n".join(found), end="\n" if found else "")
    sys.exit(1 if found else 0)


if __name__ == "__main__":
    main()
