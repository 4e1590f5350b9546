"""Fit the pages, which are written to be read in the repository too, to a site that holds docs/ only."""

import re
from pathlib import Path
from typing import Any

LINK = re.compile(r"(?<!!)\[(?P<text>[^\[\]]*)\]\((?P<path>[^()\s:#]+)(?:#[^()\s]*)?\)")
CODE = re.compile(r"^(`{3,})[^\n]*\n.*?^\1$", re.MULTILINE | re.DOTALL)


def on_config(config: Any) -> Any:
    """Leave out pages of the navigation that do not exist; add pages that it does not name."""
    folder = Path(config["docs_dir"])
    listed: set[str] = set()

    def existing(entries: list[Any]) -> list[Any]:
        kept: list[Any] = []
        for entry in entries:
            if isinstance(entry, str):
                listed.add(entry)
                kept += [entry] if (folder / entry).is_file() else []
            else:
                ((title, inside),) = entry.items()
                if pages := existing([inside] if isinstance(inside, str) else inside):
                    kept.append({title: pages[0] if isinstance(inside, str) else pages})
        return kept

    config["nav"] = existing(config["nav"])
    config["nav"] += sorted({str(path.relative_to(folder)) for path in folder.rglob("*.md")} - listed)
    return config


def on_page_markdown(markdown: str, *, page: Any, config: Any, **_: Any) -> str:
    """Replace each link to a file outside docs/ by the name of that file."""
    folder = Path(config["docs_dir"])
    here = (folder / page.file.src_uri).parent

    def link(match: re.Match[str]) -> str:
        target = (here / match["path"]).resolve()
        if target.is_relative_to(folder):
            return match[0]
        name = target.relative_to(folder.parent)
        return f"{match['text']} (`{name}`)" if match["text"] != str(name) else f"`{name}`"

    parts: list[str] = []
    end = 0
    for code in CODE.finditer(markdown):
        parts += [LINK.sub(link, markdown[end : code.start()]), code[0]]
        end = code.end()
    return "".join([*parts, LINK.sub(link, markdown[end:])])
