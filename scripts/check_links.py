"""Checks links: those of the repository's Markdown pages, or with --html those of a built site.

Every relative link must lead to a file or folder, and every fragment to a heading or an id of
that page. docs/README.md must list every page of docs/. Links to other hosts are not followed.

usage: check_links.py [--html FOLDER]
"""

import dataclasses
import html.parser
import pathlib
import re
import subprocess
import sys
import urllib.parse
from collections.abc import Iterator

REPO = pathlib.Path(__file__).resolve().parent.parent
INDEX = REPO / "docs" / "README.md"


@dataclasses.dataclass
class Page:
    """What a page links to, each with its line if that is known, and the fragments that lead into it."""

    links: list[tuple[int, str]]
    fragments: set[str]

    def add(self, part: "Page") -> None:
        self.links += part.links
        self.fragments |= part.fragments


class HtmlPage(html.parser.HTMLParser):
    """Collects links and ids."""

    def __init__(self, first_line: int = 0) -> None:
        super().__init__()
        self.page = Page([], set())
        self._first_line = first_line

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        for name, value in attrs:
            if name in ("href", "src") and value:
                self.page.links.append((self._first_line + self.getpos()[0], value))
            elif name == "srcset" and value:
                found = [it.split()[0] for it in value.split(",")]
                self.page.links += [(self._first_line + self.getpos()[0], it) for it in found]
            elif value and (name == "id" or (tag == "a" and name == "name")):
                self.page.fragments.add(value)


def read_html(text: str, first_line: int = 0) -> Page:
    parser = HtmlPage(first_line)
    parser.feed(text)
    return parser.page


def read_markdown(text: str) -> Page:
    """Fragments are made of headings as GitHub makes them."""
    from markdown_it import MarkdownIt  # noqa: PLC0415 - only the check of pages needs it

    page = Page([], set())
    counts: dict[str, int] = {}
    tokens = MarkdownIt("gfm-like", {"linkify": False}).parse(text)
    for index, token in enumerate(tokens):
        line = token.map[0] + 1 if token.map else 0
        if token.type == "html_block":
            page.add(read_html(token.content, line - 1))
        if token.type != "inline":
            continue
        for child in token.children or []:
            target = child.attrs.get("href") or child.attrs.get("src")
            if target:
                page.links.append((line, str(target)))
            elif child.type == "html_inline":
                page.add(read_html(child.content, line - 1))
        if tokens[index - 1].type == "heading_open":
            words = "".join(child.content for child in token.children or [] if child.type in ("text", "code_inline"))
            slug = re.sub(r"[^\w\- ]", "", words.lower()).replace(" ", "-")
            page.fragments.add(f"{slug}-{counts[slug]}" if slug in counts else slug)
            counts[slug] = counts.get(slug, 0) + 1
    return page


class Checker:
    """The pages of a folder, read once each. `files` are those that links may lead to."""

    def __init__(self, root: pathlib.Path, suffix: str, files: list[pathlib.Path]) -> None:
        self._root = root
        self._suffix = suffix
        self._there = {root, *files, *(folder for file in files for folder in file.parents)}
        self._pages: dict[pathlib.Path, Page] = {}
        self.count = 0

    def page(self, path: pathlib.Path) -> Page:
        if path not in self._pages:
            text = path.read_text(encoding="utf-8")
            self._pages[path] = read_html(text) if self._suffix == ".html" else read_markdown(text)
        return self._pages[path]

    def problems(self, path: pathlib.Path) -> Iterator[str]:
        for line, link in self.page(path).links:
            parts = urllib.parse.urlsplit(link)
            if parts.scheme or parts.netloc:
                continue
            self.count += 1
            if problem := self._problem(path, parts):
                yield f"{path.relative_to(self._root)}:{line}: {link}: {problem}"

    def _problem(self, path: pathlib.Path, link: urllib.parse.SplitResult) -> str | None:
        target = (path.parent / urllib.parse.unquote(link.path)).resolve() if link.path else path
        if not target.is_relative_to(self._root):
            return "leads out of the folder"
        if self._suffix == ".html" and target.is_dir():
            target /= "index.html"
        if target not in self._there:
            return "no such file"
        if link.fragment and target.suffix == self._suffix:
            fragment = urllib.parse.unquote(link.fragment)
            if fragment not in self.page(target).fragments:
                return "no such heading"
        return None


def repository_files() -> list[pathlib.Path]:
    """What a clone has, and what is not committed yet."""
    command = ["git", "ls-files", "--cached", "--others", "--exclude-standard"]
    listed = subprocess.run(command, cwd=REPO, capture_output=True, text=True, check=True).stdout
    return [path for path in (REPO / it for it in listed.splitlines()) if path.exists()]


def unlisted(checker: Checker) -> Iterator[str]:
    listed = {(INDEX.parent / link.split("#")[0]).resolve() for _, link in checker.page(INDEX).links}
    for path in sorted(INDEX.parent.glob("*.md")):
        if path != INDEX and path not in listed:
            yield f"{INDEX.relative_to(REPO)}: does not list {path.name}"


def main() -> int:
    if sys.argv[1:2] == ["--html"]:
        root = pathlib.Path(sys.argv[2]).resolve()
        files = sorted(root.rglob("*"))
        # rustdoc checks its own links. The 404 page is served at any address, so its relative links cannot be checked.
        apart = {root / "404.html", *(root / "rustdoc").rglob("*")}
        pages = [it for it in files if it.suffix == ".html" and it not in apart]
        checker = Checker(root, ".html", files)
        problems = []
    else:
        files = repository_files()
        pages = [it for it in files if it.suffix == ".md"]
        checker = Checker(REPO, ".md", files)
        problems = list(unlisted(checker))
    for path in pages:
        problems += checker.problems(path)
    for problem in problems:
        print(problem, file=sys.stderr)
    if not checker.count:
        print("there are no links to check", file=sys.stderr)
        return 1
    print(f"{len(pages)} pages, {checker.count} links, {len(problems)} problems")
    return 1 if problems else 0


if __name__ == "__main__":
    sys.exit(main())
