#!/usr/bin/env python3
"""Checks pages that Headway wrote: valid, of reasonable size, complete without a network, and readable on any screen.

    python check_page.py runs/first/report.html …        # exit code 0: all is well, 1: what is wrong, on standard output
    python check_page.py --no-browser report.html        # only what can be read off the file

A page passes when
  - html5lib finds nothing to correct in it, as a strict parser would demand;
  - it has no script but those whose digest its policy names, no event handler, nothing that embeds or redirects, and less than 2 MB;
  - what it refers to is beside it, inside it (#anchor) or part of it (data:image/…), in attributes and in styles;
  - its content security policy forbids everything else: default-src 'none';
  - Chromium, without a network, opens it and writes nothing to the console, where a refused request would be told;
  - there, at three widths, light and dark, it is no wider than the screen, no table and no text of a drawing is cut, and text
    stands out from what is behind it by a contrast of 4.5 or more (WCAG 2.2, 1.4.3).

Chromium is what HEADWAY_CHROMIUM names, or `chromium`, `chromium-browser` or `google-chrome` on the path. Where there is none
the last check is not made, which is said.

Needs Python 3.10 and html5lib (Debian: python3-html5lib).
"""

import argparse
import base64
import hashlib
import json
import os
import re
import select
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import html5lib

LARGEST = 2_000_000
"""Bytes of a page, exclusive."""

BROWSER_SECONDS = 120

WIDTHS = (390, 820, 1440)
"""CSS pixels of a phone, a tablet and a desktop."""

SCHEMES = ("light", "dark")

FORBIDDEN = {"link", "base", "iframe", "frame", "object", "embed", "foreignObject", "form"}

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


def digest(script):
    """A script as a policy names it."""
    return f"'sha256-{base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()}'"


def element_problems(element, scripts):
    """What is wrong with one element, its content aside."""
    name = local_name(element.tag)
    if name in FORBIDDEN:
        yield f"<{name}> has no place in a page"
    if name == "script" and (element.get("src") is not None or digest(element.text or "") not in scripts):
        yield "<script> is none that the policy names"
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


def policies(tree):
    return [
        element.get("content", "")
        for element in tree.iter()
        if isinstance(element.tag, str) and element.get("http-equiv", "").lower() == "content-security-policy"
    ]


def allowed_scripts(tree):
    """Digests of the scripts that all policies allow; none if one of them allows scripts in another way."""
    named = [re.search(r"script-src ([^;]*)", policy) for policy in policies(tree)]
    sources = [set(found.group(1).split()) if found else set() for found in named]
    both = set.intersection(*sources) if sources else set()
    return both if all(re.fullmatch(r"'sha256-[A-Za-z0-9+/=]+'", source) for source in both) else set()


def policy_problems(tree):
    if not any("default-src 'none'" in policy for policy in policies(tree)):
        yield "no content security policy with default-src 'none'"


def file_problems(content):
    """What is wrong with a page, from its bytes."""
    if len(content) >= LARGEST:
        yield f"{len(content)} bytes, {LARGEST} or more"
    parser = html5lib.HTMLParser()
    tree = parser.parse(content, transport_encoding="utf-8")
    for (line, column), code, values in parser.errors:
        yield f"line {line}, column {column}: {html5lib.constants.E.get(code, code) % values}"
    scripts = allowed_scripts(tree)
    for element in tree.iter():
        if isinstance(element.tag, str):
            yield from element_problems(element, scripts)
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


LOOK = r"""
(() => {
  const found = [];
  const short = (node) => node.textContent.trim().slice(0, 40);
  const page = document.documentElement;
  if (page.scrollWidth > page.clientWidth) found.push(`the page is ${page.scrollWidth} wide`);
  for (const table of document.querySelectorAll("table")) {
    const frame = table.parentNode;
    if (innerWidth < 640 && frame.scrollWidth > frame.clientWidth + 1) found.push(`a table is cut: ${short(table)}`);
  }
  for (const text of document.querySelectorAll("svg text")) {
    if (short(text) === "") continue;
    const [inside, all] = [text.getBoundingClientRect(), text.closest("svg").getBoundingClientRect()];
    if (inside.left < all.left - 1 || inside.right > all.right + 1 || inside.top < all.top - 1 || inside.bottom > all.bottom + 1)
      found.push(`a text of a drawing is cut: ${short(text)}`);
  }
  const parts = (colour) => (colour.match(/[\d.]+/g) || [0, 0, 0, 0]).map(Number);
  const light = (colour) => {
    const [r, g, b] = parts(colour).slice(0, 3).map((c) => (c /= 255) <= 0.04045 ? c / 12.92 : ((c + 0.055) / 1.055) ** 2.4);
    return 0.2126 * r + 0.7152 * g + 0.0722 * b;
  };
  const behind = (node) => {
    for (let at = node; at; at = at.parentElement) {
      const colour = getComputedStyle(at).backgroundColor;
      if ((parts(colour)[3] ?? 1) > 0) return colour;
    }
    return "rgb(255, 255, 255)";
  };
  const faint = new Set();
  for (const node of document.querySelectorAll("h1, h2, p, a, li, th, td, pre, figcaption, span, button, input, svg text")) {
    if (short(node) === "" || node.getClientRects().length === 0) continue;
    const style = getComputedStyle(node);
    const of = node.closest("svg") ? style.fill : style.color;
    const [a, b] = [light(of), light(behind(node))].sort((x, y) => y - x);
    if ((a + 0.05) / (b + 0.05) < 4.5) faint.add(`${node.tagName.toLowerCase()} ${of} on ${behind(node)}`);
  }
  return found.concat([...faint].map((what) => `text is faint: ${what}`));
})()
"""
"""What a reader would miss, as a list of texts, by the browser's own layout."""


class Browser:
    """Chromium without a network, asked by its DevTools protocol over a pair of pipes."""

    def __init__(self, program, profile):
        command = [
            program,
            "--headless=new",
            "--remote-debugging-pipe",
            "--disable-gpu",
            "--no-first-run",
            "--disable-background-networking",
            "--disable-component-update",
            "--disable-sync",
            # Nothing listens there: whatever is asked for stays unanswered.
            "--proxy-server=127.0.0.1:9",
            f"--user-data-dir={profile}",
        ]
        if os.geteuid() == 0:
            # Chromium refuses to run as root with its sandbox.
            command.insert(1, "--no-sandbox")
        reads, self.to = os.pipe()
        self.of, writes = os.pipe()
        # It reads descriptor 3 and writes 4, which these may be themselves until they are moved out of the way.
        reads, writes = (os.dup2(end, free) for end, free in ((reads, 63), (writes, 64)))
        script = 'exec 3<&63 4>&64 63<&- 64>&-; exec "$@"'
        self.process = subprocess.Popen(
            ["bash", "-c", script, "bash", *command],
            pass_fds=(reads, writes),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        os.close(reads)
        os.close(writes)
        self.asked, self.unread, self.events = 0, b"", []
        self.ends = time.monotonic() + BROWSER_SECONDS
        target = self.ask("Target.createTarget", url="about:blank")["targetId"]
        self.session = None
        self.session = self.ask("Target.attachToTarget", targetId=target, flatten=True)["sessionId"]
        for part in ("Page", "Runtime", "Log"):
            self.ask(f"{part}.enable")

    def ask(self, method, **parameters):
        self.asked += 1
        message = {"id": self.asked, "method": method, "params": parameters}
        if getattr(self, "session", None):
            message["sessionId"] = self.session
        os.write(self.to, json.dumps(message).encode() + b"\0")
        return self.wait(lambda answer: answer.get("id") == self.asked)

    def wait(self, is_wanted):
        """The first message that is wanted; events before it are kept."""
        while True:
            while b"\0" not in self.unread:
                left = self.ends - time.monotonic()
                if left <= 0 or not select.select([self.of], [], [], left)[0]:
                    raise TimeoutError(f"no answer in {BROWSER_SECONDS} s")
                more = os.read(self.of, 1 << 16)
                if not more:
                    raise ConnectionError("it ended")
                self.unread += more
            text, self.unread = self.unread.split(b"\0", 1)
            message = json.loads(text)
            if is_wanted(message):
                if "error" in message:
                    raise ConnectionError(message["error"]["message"])
                return message.get("result", message)
            self.events.append(message)

    def problems(self, path):
        """What is wrong with a page as it is shown."""
        self.events.clear()
        self.ends = time.monotonic() + BROWSER_SECONDS
        self.ask("Page.navigate", url=path.resolve().as_uri())
        self.wait(lambda message: message.get("method") == "Page.loadEventFired")
        for width in WIDTHS:
            for scheme in SCHEMES:
                size = {"width": width, "height": 900, "deviceScaleFactor": 1, "mobile": width < 640}
                self.ask("Emulation.setDeviceMetricsOverride", **size)
                self.ask("Emulation.setEmulatedMedia", features=[{"name": "prefers-color-scheme", "value": scheme}])
                answer = self.ask("Runtime.evaluate", expression=LOOK, returnByValue=True)
                if "exceptionDetails" in answer:
                    raise ConnectionError(answer["exceptionDetails"]["exception"]["description"])
                for problem in answer["result"]["value"]:
                    yield f"at {width} pixels, {scheme}: {problem}"
        for event in self.events:
            if event.get("method") == "Log.entryAdded":
                yield f"on the browser's console: {event['params']['entry']['text']}"
            if event.get("method") in ("Runtime.consoleAPICalled", "Runtime.exceptionThrown"):
                yield f"on the browser's console: {json.dumps(event['params'])[:300]}"

    def close(self):
        os.close(self.to)
        os.close(self.of)
        self.process.kill()
        self.process.wait()


def shown_problems(program, paths):
    """What is wrong with pages as Chromium shows them, by page."""
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as profile:
        try:
            browser = Browser(program, profile)
        except (TimeoutError, OSError) as error:
            return {path: [f"{program} does not start: {error}"] for path in paths}
        problems = {}
        try:
            for path in paths:
                try:
                    problems[path] = list(browser.problems(path))
                except (TimeoutError, OSError) as error:
                    problems[path] = [f"{program} did not show it: {error}"]
        finally:
            browser.close()
        return problems


def main():
    arguments = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    arguments.add_argument("pages", nargs="+", type=Path, metavar="PAGE")
    arguments.add_argument("--no-browser", action="store_true", help="do not open the pages in Chromium")
    options = arguments.parse_args()
    browser = None if options.no_browser else find_browser()
    shown = shown_problems(browser, options.pages) if browser else {}
    is_well = True
    for path in options.pages:
        problems = list(file_problems(path.read_bytes())) + shown.get(path, [])
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
