#!/usr/bin/env python3
"""Every link of the pages leads somewhere, here and on the site; check_links.py and book.py see what does not.

    python -m unittest discover python
"""

import json
import subprocess
import sys
import unittest
from pathlib import Path

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE))

import book  # noqa: E402
import check_links  # noqa: E402


class Links(unittest.TestCase):
    page = check_links.ROOT / "ARCHITECTURE.md"

    def broken(self, text):
        return list(check_links.broken(self.page, text))

    def test_every_link_of_the_pages_leads_somewhere(self):
        self.assertEqual(list(check_links.problems()), [])

    def test_a_link_to_nothing_is_seen(self):
        text = "## Why, then?\n[a](README.md) [b](no.md) [c](#why-then) [d](#no) [e](https://no.no/no) [f](README.md#no) ![g](no.svg)\n[h\ni](no)"
        self.assertEqual(self.broken(text), ["no.md", "#no", "README.md#no", "no.svg", "no"])
        self.assertEqual(self.broken("[up](../elsewhere) [mail](mailto:a@b.c) [`code`](no.rs) [![picture](no.svg)](no.md)"), ["../elsewhere", "no.rs", "no.md"])

    def test_code_has_no_links(self):
        self.assertEqual(self.broken("`[a](no.md)` ``[b](`no.md)``\n\n```text\n[c](no.md)\n## Heading\n```\n[d](#heading)"), ["#heading"])

    def test_anchors_are_those_of_github_and_mdbook(self):
        text = "# A b\n## `sweep.toml`\n### What is it, [really](x.md)?\n## A b\n## Σ of x_1 – twice\n## C #\n    # none\n"
        wanted = {"a-b", "sweeptoml", "what-is-it-really", "a-b-1", "σ-of-x_1--twice", "c"}
        self.assertEqual(check_links.anchors(text), wanted)


class Site(unittest.TestCase):
    def test_links_hold_on_the_site(self):
        for path, text, wanted in [
            ("docs/tasks.md", "[a](inside.md#patterns) ![b](figures/c.svg)", "[a](inside.md#patterns) ![b](figures/c.svg)"),
            ("docs/tasks.md", "[a](../checkpoints/README.md#b)", "[a](repository/checkpoints/index.md#b)"),
            ("docs/theory/rank.md", "[a](README.md) [b](../../ARCHITECTURE.md)", "[a](index.md) [b](../repository/ARCHITECTURE.md)"),
            ("README.md", "[a](docs/theory/README.md) [b](CONTRIBUTING.md) [c](#d)", "[a](../theory/index.md) [b](CONTRIBUTING.md) [c](#d)"),
            ("datasets/README.md", "[a](../docs/tasks.md) [b](https://x.y)", "[a](../../tasks.md) [b](https://x.y)"),
            ("docs/studies.md", "[compare_ffn](../experiments/compare_ffn.toml)", "compare_ffn (`experiments/compare_ffn.toml`)"),
            ("README.md", "see [`CITATION.cff`](CITATION.cff)", "see `CITATION.cff`"),
        ]:
            self.assertEqual(book.moved(text, path), wanted)

    def test_mdbook_gets_its_book_back_with_the_other_pages(self):
        inner = {"name": "In", "content": "[t](../tasks.md)", "sub_items": [], "path": "theory/in.md", "source_path": "theory/in.md"}
        outer = inner | {"content": "[c](../../CONTRIBUTING.md)", "sub_items": [{"Chapter": inner}], "path": "theory/index.md", "source_path": "theory/README.md"}
        asked = json.dumps([{}, {"items": ["Separator", {"PartTitle": "Part"}, {"Chapter": outer}]}])
        script = [sys.executable, str(HERE / "book.py")]
        answer = json.loads(subprocess.run(script, input=asked, capture_output=True, text=True, check=True).stdout)
        chapters = list(book.chapters(answer["items"]))
        self.assertEqual([part["content"] for part in chapters[:2]], ["[c](../repository/CONTRIBUTING.md)", "[t](../tasks.md)"])
        self.assertEqual([part["path"] for part in chapters[2:]], ["repository/index.md", *(f"repository/{name}.md" for name in ("ARCHITECTURE", "CONTRIBUTING", "CHANGELOG")), "repository/checkpoints/index.md", "repository/datasets/index.md"])
        self.assertEqual(subprocess.run([*script, "supports", "html"]).returncode, 0)


if __name__ == "__main__":
    unittest.main()
