#!/usr/bin/env python3
"""Checks pages that Headway wrote: valid, of reasonable size, free of scripts, and complete without a network.

    python check_page.py runs/first/report.html …        # exit code 0: all is well, 1: what is wrong, on standard output
    python check_page.py --no-browser report.html        # only what can be read off the file

A page passes when
  - html5lib finds nothing to correct in it, as a strict parser would demand;
  - it has no script, no event handler, nothing that embeds or redirects, and less than 2 MB;
  - what it refers to is beside it, inside it (#anchor) or part of it (data:image/…), in attributes and in styles;
  - its content security policy forbids everything else: default-src 'none';
  - Chromium, without a network, opens it and writes nothing to the console, where a refused request would be told.

Chromium is what HEADWAY_CHROMIUM names, or `chromium`, `chromium-browser` or `google-chrome` on the path. Where there is none
the last check is not made, which is said.

Needs Python 3.10 and html5lib (Debian: python3-html5lib).
"""

import argparse
import os
import re
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

import html5lib

LARGEST = 2_000_000
"""Bytes of a page, exclusive."""

BROWSER_SECONDS = 120

FORBIDDEN = {"script", "link", "base", "iframe", "frame", "object", "embed", "foreignObject", "form"}

ADDRESSES = {"href", "src", "srcset", "data", "poster", "action", "formaction", "background", "ping"}


def local_name(name):
    """`{namespace}name` and `prefix:name` without what stands before the name."""
    return re.split("[}:]", name)[-1]


def is_inside(address):
    """Whether an address needs nothing but the folder of the page."""
    address = address.strip()
    if address.startswith("data:"):
        return address.startswith("data:image/")
    return not re.match(r"[a-zA-Z][a-zA-Z0-9+.-]*:|/|\\", address)


def style_problems(style):
    """What a style would fetch."""
    style = re.sub(r"/\*.*?\*/", "", style, flags=re.DOTALL)
    if re.search("@import", style, re.IGNORECASE):
        yield "a style imports another"
    # An escape could spell either word.
    if "\\" in style:
        yield "a style has an escape"
    for address in re.findall(r"url\(\s*['\"]?([^)]*)", style, re.IGNORECASE):
        if not address.startswith(("#", "data:image/")):
            yield f"a style refers to {address}"


def element_problems(element):
    """What is wrong with one element, its content aside."""
    name = local_name(element.tag)
    if name in FORBIDDEN:
        yield f"<{name}> has no place in a page"
    if name == "style":
        yield from style_problems(element.text or "")
    if name == "meta" and element.get("http-equiv", "").lower() == "refresh":
        yield "the page loads another"
    for key, value in element.items():
        key = local_name(key)
        if key.startswith("on"):
            yield f"<{name}> has the event handler {key}"
        if key == "style":
            yield from style_problems(value)
        if key in ADDRESSES and not is_inside(value):
            yield f"<{name} {key}> refers to {value[:80]}"


def policy_problems(tree):
    policies = [
        element.get("content", "")
        for element in tree.iter()
        if isinstance(element.tag, str) and element.get("http-equiv", "").lower() == "content-security-policy"
    ]
    if not any("default-src 'none'" in policy for policy in policies):
        yield "no content security policy with default-src 'none'"


def file_problems(content):
    """What is wrong with a page, from its bytes."""
    if len(content) >= LARGEST:
        yield f"{len(content)} bytes, {LARGEST} or more"
    parser = html5lib.HTMLParser()
    tree = parser.parse(content, transport_encoding="utf-8")
    for (line, column), code, values in parser.errors:
        yield f"line {line}, column {column}: {html5lib.constants.E.get(code, code) % values}"
    for element in tree.iter():
        if isinstance(element.tag, str):
            yield from element_problems(element)
    yield from policy_problems(tree)


def find_browser():
    """Path of Chromium, or None."""
    named = os.environ.get("HEADWAY_CHROMIUM")
    if named:
        found = shutil.which(named)
        if found is None:
            sys.exit(f"HEADWAY_CHROMIUM names {named}, which cannot be run")
        return found
    return next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)


def browser_problems(browser, path):
    """What Chromium says while it opens a page without a network."""
    with tempfile.TemporaryDirectory() as profile:
        command = [
            browser,
            "--headless=new",
            "--disable-gpu",
            "--no-first-run",
            "--disable-background-networking",
            "--disable-component-update",
            # Nothing listens there: whatever is asked for stays unanswered.
            "--proxy-server=127.0.0.1:9",
            "--enable-logging=stderr",
            f"--user-data-dir={profile}",
            "--dump-dom",
            path.resolve().as_uri(),
        ]
        if os.geteuid() == 0:
            # Chromium refuses to run as root with its sandbox.
            command.insert(1, "--no-sandbox")
        try:
            ran = subprocess.run(command, capture_output=True, timeout=BROWSER_SECONDS, check=False)
        except subprocess.TimeoutExpired:
            yield f"not open in {browser} after {BROWSER_SECONDS} s"
            return
    log = ran.stderr.decode(errors="replace")
    if ran.returncode != 0 or b"<main" not in ran.stdout:
        yield f"{browser} did not show it, exit code {ran.returncode}: {log[-500:]}"
    for line in log.splitlines():
        if "CONSOLE" in line:
            yield f"on the browser's console: {line.split(']', 1)[-1].strip()}"


def main():
    arguments = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    arguments.add_argument("pages", nargs="+", type=Path, metavar="PAGE")
    arguments.add_argument("--no-browser", action="store_true", help="do not open the pages in Chromium")
    options = arguments.parse_args()
    browser = None if options.no_browser else find_browser()
    is_well = True
    for path in options.pages:
        problems = list(file_problems(path.read_bytes()))
        if browser:
            problems.extend(browser_problems(browser, path))
        for problem in problems:
            print(f"{path}: {problem}")
        if not problems:
            print(f"{path}: ok")
        is_well = is_well and not problems
    if not browser:
        reason = "--no-browser" if options.no_browser else "no Chromium found, see HEADWAY_CHROMIUM"
        print(f"NOT OPENED IN A BROWSER: {reason}")
    sys.exit(0 if is_well else 1)


if __name__ == "__main__":
    main()
