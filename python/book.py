#!/usr/bin/env python3
"""What mdBook asks before it writes the site: pages of the repository outside of docs/, and links that hold on the site.

mdBook starts it (docs/book.toml) with the book as JSON on standard input, and reads the book again from standard output.

- Pages beside docs/ (README.md, ARCHITECTURE.md, …) become chapters below repository/.
- Links between pages lead to chapters; a README.md is the index.html of its folder.
- A link to a file that is no page, such as an experiment, becomes the path of the file: on the site there is no such file.

Needs Python 3.10 and mdBook 0.5.
"""

import json
import os
import re
import sys
from pathlib import Path, PurePosixPath

sys.path.insert(0, str(Path(__file__).resolve().parent))

from check_links import ROOT, is_elsewhere, links  # noqa: E402

OUTSIDE = {
    "README.md": "What Headway is",
    "ARCHITECTURE.md": "Architecture",
    "CONTRIBUTING.md": "Contributing",
    "CHANGELOG.md": "Changes",
    "checkpoints/README.md": "Checkpoints that ship",
    "datasets/README.md": "Data sets",
}
"""Pages that come with those of docs/, and their titles."""


def place(path):
    """Where a page of the repository stands on the site; None if it is no page there."""
    if path in OUTSIDE:
        found = f"repository/{path}"
    elif path.startswith("docs/"):
        found = path.removeprefix("docs/")
    else:
        return None
    return re.sub(r"(^|/)README\.md$", r"\1index.md", found)


def moved(text, path):
    """The text of a page, its path from the top of the repository, with links that hold on the site."""
    here, out, end = PurePosixPath(path).parent, [], 0
    for match in links(text):
        if is_elsewhere(match[2]) or match[2].startswith("#"):
            continue
        address, _, anchor = match[2].partition("#")
        target = os.path.normpath(here / address)
        on_site = place(target)
        if on_site is None:
            replaced = match[1] if target in match[1].strip("`") else f"{match[1]} (`{target}`)"
        else:
            link = os.path.relpath(on_site, PurePosixPath(place(path)).parent)
            replaced = f"[{match[1]}]({link}{'#' * bool(anchor)}{anchor})"
        out += [text[end : match.start()], replaced]
        end = match.end()
    return "".join([*out, text[end:]])


def chapters(items):
    """Every chapter with a file, those within others too."""
    for item in items:
        if isinstance(item, dict) and "Chapter" in item:
            yield item["Chapter"]
            yield from chapters(item["Chapter"]["sub_items"])


def chapter(path, title):
    """A page beside docs/ as a chapter of mdBook."""
    content = moved((ROOT / path).read_text(encoding="utf-8"), path)
    return {"Chapter": {"name": title, "content": content, "number": None, "sub_items": [], "path": place(path), "source_path": None, "parent_names": []}}


def main():
    if sys.argv[1:2] == ["supports"]:  # mdBook asks whether a renderer is known; links are for pages of any kind
        return
    _, book = json.load(sys.stdin)
    for part in chapters(book["items"]):
        part["content"] = moved(part["content"], f"docs/{part['source_path']}")
    book["items"] += [{"PartTitle": "The repository"}, *(chapter(*page) for page in OUTSIDE.items())]
    json.dump(book, sys.stdout)


if __name__ == "__main__":
    main()
