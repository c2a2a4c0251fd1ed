"""Lays out the source of the docs site in a folder, for mdBook.

Pages stay where they are in the repository, so that their links hold. The order comes from docs/README.md: each of its
sections becomes a part. Pages that these link to are an appendix. Other files that pages link to are copied. A folder
that pages link to becomes a page that lists its files.

usage: site_source.py FOLDER
"""

import os
import pathlib
import re
import shutil
import sys
import tomllib
import urllib.parse

from check_links import INDEX, REPO, read_markdown, repository_files

ENTRY = re.compile(r"^- \[(.+?)\]\(([^)#]+\.md)\)", re.MULTILINE)
README_LINK = re.compile(r"(\]\((?:[^)\s]*/)?)README\.md")
API = pathlib.Path("rust-api.md")
FILES = pathlib.Path("files.md")


class Source:
    """The pages in their order, and what they link to."""

    def __init__(self) -> None:
        # A symlink to a folder is a file for git.
        self.files = {path for path in repository_files() if path.is_file()}
        self.parts: list[tuple[str, list[tuple[str, pathlib.Path]]]] = []
        for section in re.split(r"^## ", INDEX.read_text(encoding="utf-8"), flags=re.MULTILINE)[1:]:
            name, _, body = section.partition("\n")
            found = [(title, (INDEX.parent / path).resolve()) for title, path in ENTRY.findall(body)]
            if found:
                self.parts.append((name, found))
        self.pages = [REPO / "README.md", INDEX, *(path for _, part in self.parts for _, path in part)]
        self.appendix: list[pathlib.Path] = []
        self.others: set[pathlib.Path] = set()
        self.folders: set[pathlib.Path] = set()
        self._follow_links()

    def _follow_links(self) -> None:
        """Finds what the pages link to, the pages of the appendix included."""
        waiting = list(self.pages)
        seen = set(waiting)
        while waiting:
            page = waiting.pop(0)
            for _, link in read_markdown(page.read_text(encoding="utf-8")).links:
                parts = urllib.parse.urlsplit(link)
                if parts.scheme or not parts.path:
                    continue
                target = (page.parent / urllib.parse.unquote(parts.path)).resolve()
                if target in seen:
                    continue
                seen.add(target)
                if target.is_dir():
                    self.folders.add(target)
                elif target.suffix == ".md":
                    self.appendix.append(target)
                    waiting.append(target)
                else:
                    self.others.add(target)

    def summary(self) -> str:
        """mdBook's list of chapters."""
        lines = ["# Summary", "", f"[Overview]({staged(REPO / 'README.md')})", f"[All pages]({staged(INDEX)})"]
        for name, part in self.parts:
            lines += ["", f"# {name}", "", *(f"- [{title}]({staged(path)})" for title, path in part)]
        lines += ["", "# Appendix", "", f"- [Rust API]({API})"]
        lines += [f"- [{title_of(path)}]({staged(path)})" for path in sorted(self.appendix)]
        lines += [f"- [Files]({FILES})"]
        lines += [f"  - [{relative(path)}/]({relative(path)}/index.md)" for path in sorted(self.folders)]
        return "\n".join(lines) + "\n"

    def folder_list(self) -> str:
        """A page that links to the folders."""
        lines = [f"- [`{relative(path)}/`]({relative(path)}/index.md)" for path in sorted(self.folders)]
        return "\n".join(["# Files", "", "The folders that the pages refer to.", "", *lines]) + "\n"

    def listing(self, folder: pathlib.Path) -> str:
        """A page that links to the files of a folder."""
        inside = sorted(path for path in self.files if path.is_relative_to(folder))
        lines = [f"- [`{path.relative_to(folder)}`]({path.relative_to(folder)})" for path in inside]
        return "\n".join([f"# {relative(folder)}/", "", *lines]) + "\n"


def staged(path: pathlib.Path) -> pathlib.Path:
    """Where a file is in the source. mdBook makes a README the index of its folder, but resolves no links to it."""
    return relative(path.with_name("index.md") if path.name == "README.md" else path)


def relative(path: pathlib.Path) -> pathlib.Path:
    return path.relative_to(REPO)


def title_of(path: pathlib.Path) -> str:
    found = re.search(r"^# (.+)$", path.read_text(encoding="utf-8"), re.MULTILINE)
    return found[1] if found else str(relative(path))


def rust_api() -> str:
    """Links to what `cargo doc` writes of the default members."""
    members = tomllib.loads((REPO / "Cargo.toml").read_text(encoding="utf-8"))["workspace"]["default-members"]
    lines = []
    for member in members:
        if not (REPO / member / "src/lib.rs").exists():
            continue
        manifest = tomllib.loads((REPO / member / "Cargo.toml").read_text(encoding="utf-8"))
        name = manifest["package"]["name"]
        folder = manifest.get("lib", {}).get("name", name).replace("-", "_")
        lines.append(f"- [`{name}`](rustdoc/{folder}/index.html): {manifest['package']['description']}")
    head = ["# Rust API", "", "The crates that need no libtorch, as `cargo doc` describes them.", ""]
    return "\n".join([*head, *lines]) + "\n"


def copy(path: pathlib.Path, to: pathlib.Path) -> None:
    target = to / staged(path)
    target.parent.mkdir(parents=True, exist_ok=True)
    if path.suffix == ".md":
        target.write_text(README_LINK.sub(r"\1index.md", path.read_text(encoding="utf-8")), encoding="utf-8")
    else:
        shutil.copyfile(path, target)


def main() -> None:
    to = pathlib.Path(sys.argv[1])
    shutil.rmtree(to, ignore_errors=True)
    source = Source()
    listed = {path for folder in source.folders for path in source.files if path.is_relative_to(folder)}
    for path in {*source.pages, *source.appendix, *source.others, *listed}:
        copy(path, to)
    for folder in source.folders:
        (to / relative(folder) / "index.md").write_text(source.listing(folder), encoding="utf-8")
    shutil.copyfile(INDEX.parent / "book.toml", to / "book.toml")
    (to / "SUMMARY.md").write_text(source.summary(), encoding="utf-8")
    (to / API).write_text(rust_api(), encoding="utf-8")
    (to / FILES).write_text(source.folder_list(), encoding="utf-8")
    pages = len(source.pages) + len(source.appendix)
    print(f"{pages} pages, {len(source.others)} files, {len(source.folders)} folders", file=sys.stderr)


if __name__ == "__main__":
    os.umask(0o022)
    main()
