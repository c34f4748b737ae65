#!/usr/bin/env python3
"""Pages, figures and results agree, and refresh_docs.py sees where they do not.

    python -m unittest discover python
"""

import sys
import unittest
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent))

import docs_tables  # noqa: E402
import refresh_docs  # noqa: E402


class Pages(unittest.TestCase):
    def test_every_page_and_figure_is_as_the_results_have_it(self):
        self.assertEqual(refresh_docs.differences(), [], "python python/refresh_docs.py draws pages again")

    def test_what_was_written_by_hand_between_marks_is_drawn_again(self):
        for page in refresh_docs.pages():
            text = page.read_text()
            marks = list(refresh_docs.MARKS.finditer(text))
            for mark in marks:
                inside = mark[0].index("-->") + 3
                changed = text[: mark.start() + inside] + "\n" * bool(mark["kind"]) + "0.0123" + mark[0][mark[0].rindex("<!--") - bool(mark["kind"]) :]
                changed += text[mark.end() :]
                self.assertNotEqual(changed, text)
                self.assertEqual(refresh_docs.drawn(changed), text, f"{page}: {mark[0][:60]}")

    def test_a_measured_table_without_a_result_is_seen(self):
        rows = "| model | error |\n|---|---|\n| ours | 0.022 |\n"
        self.assertEqual(list(refresh_docs.undrawn(f"Words.\n\n{rows}\nMore.\n")), ["| model | error |"])
        self.assertEqual(list(refresh_docs.undrawn(rows.replace("0.022", "22"))), [])

    def test_a_mark_without_a_result_is_an_error(self):
        for mark in ("<!-- table: nothing -->\n\n<!-- /table -->", "<!-- output: nothing 0 -->\n\n<!-- /output -->", "<!--=nothing-->1<!--/-->"):
            with self.assertRaises(refresh_docs.Wrong):
                refresh_docs.drawn(mark)


class Numbers(unittest.TestCase):
    def test_digits(self):
        values = [0, 0.0149996, 0.0150, 2.684, 84.79, 99.96, 1234.5, 3.04e-5, -0.27, -1e-4]
        expected = ["0", "0.0150", "0.0150", "2.68", "84.8", "100", "1234", "3.04e-5", "−0.270", "−1.00e-4"]
        self.assertEqual([docs_tables.digits(value) for value in values], expected)

    def test_a_span_names_the_value_that_is_farthest_out(self):
        span = docs_tables.span
        self.assertEqual(span([("1", 3.0), ("2", 2.0), ("4", 1.0)]), "3.00 … 1.00")
        self.assertEqual(span([("1", 3.0), ("2", 0.5), ("4", 1.0)]), "3.00 … 0.500 (2), 1.00")
        self.assertEqual(span([("1", 3.0), ("4", 3.0)]), "3.00")

    def test_an_excerpt_takes_a_term_with_what_goes_on_beneath_it(self):
        lines = ["bound     0.1  a", " " * 14 + "0.2  b", "rounding  0.3  c", "certified 0.4"]
        self.assertEqual(refresh_docs.excerpt(lines, ["bound", "certified"]), [*lines[:2], lines[3]])
        with self.assertRaises(refresh_docs.Wrong):
            refresh_docs.excerpt(lines, ["certified", "bound"])

    def test_means_that_cannot_fail_are_counted_apart(self):
        checks = [(True, True), (True, False), (False, False), (True, False)]
        study = {"checks": [{"at": "n_heads=1", "agrees": agrees, "can_tell": can_tell} for agrees, can_tell in checks]}
        self.assertEqual(docs_tables.verdicts(study), "1 of 2, not H = 1; 2 cannot tell")


if __name__ == "__main__":
    unittest.main()
