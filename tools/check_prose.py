"""Does the prose read like technical English? Finds idioms that we do not use, in documents, comments and strings.

python -m tools.check_prose [PATH ...]     by default: what users and developers read, see PATHS
"""

from __future__ import annotations

import argparse
import re
import sys
import tokenize
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

PATHS = (
    *map(Path, ("README.md", "ARCHITECTURE.md", "CONTRIBUTING.md", "CHANGELOG.md", "Makefile")),
    *map(Path, ("docs", "deploy", "src")),
)
_SUFFIXES = {".cfg", ".conf", ".html", ".js", ".md", ".py", ".service", ".yaml", ".yml", ""}

IDIOMS = {
    r"tell(s|ing)? of": "report, describe, list",
    r"(is|are|was|were|be|been|being|gets?|not) told": "is reported, is logged, receives",
    r"(take|takes|taken|taking|took) over": "reload, apply, adopt, replace",
    r"what (is|was) there": "the current state, what exists",
    r"(is|are|was|were) not there": "is missing, does not exist",
    r"let(s|ting)? go( of)?": "release, remove",
    r"as (it|they) (is|are) wanted": "in sync, as desired",
    r"as (the source|it) wants (it|them)": "in sync, as desired",
    r"look(s|ed|ing)? again": "observe again, start a new pass, retry",
    r"(is|are|was|were|be|been|not) looked at": "is observed, is polled, is checked",
    r"(takes?|took|taken) in (a|an|the|what|that)": "read, receive, store",
    r"of ours": "of dynsrv's",
    r"by lot": "at random",
    r"in line": "in sync, queued",
    r"mend(s|ed|ing)?": "fix, correct, repair",
    r"(become|becomes|became) of": "happens to, the result of",
    r"in vain": "without success, timed out",
    r"anew": "again",
    r"stays? as (it is|they are)": "is unchanged, keeps",
    r"for want of": "because there is no",
    r"HAProxys": "HAProxies",
}
"""What to write instead, by what not to write: a regular expression whose blanks match any white space."""

_ANY = re.compile("|".join(rf"\b(?:{idiom})\b".replace(" ", r"\s+") for idiom in IDIOMS))

_MARKS = re.compile(r"""\b[bfru]{1,2}(?=["'])|["'#\\]""", re.IGNORECASE)
"""What is no word in a comment or a string: quotes and what stands before them."""


class Finding(NamedTuple):
    """An idiom on a line, and what to write instead."""

    line: int
    idiom: str
    instead: str


def findings(path: Path) -> list[Finding]:
    """Return the idioms in the file at *path*, in its order. Of Python, only comments and strings are read."""
    text = path.read_text()
    prose = _prose_of_python(text) if path.suffix == ".py" else re.sub(r"(?m)^\s*(#+|//|\*|>) ", _blank, text)
    return [
        Finding(prose.count("\n", 0, match.start()) + 1, " ".join(match[0].split()), _instead(match[0]))
        for match in _ANY.finditer(prose)
    ]


def _blank(match: re.Match[str]) -> str:
    return re.sub(r"\S", " ", match[0])


def _instead(found: str) -> str:
    found = " ".join(found.split())
    return next(instead for idiom, instead in IDIOMS.items() if re.fullmatch(idiom, found))


def _prose_of_python(text: str) -> str:
    """Return *text* with code made unreadable, each character in its place; a phrase may go on in the next string."""
    lines = text.splitlines(keepends=True)
    prose = [[character if character.isspace() else "\0" for character in line] for line in lines]
    kinds = {
        getattr(tokenize, kind, None)
        for kind in ("COMMENT", "STRING", "FSTRING_START", "FSTRING_MIDDLE", "FSTRING_END")
    }
    for token in tokenize.generate_tokens(iter(lines).__next__):
        if token.type in kinds:
            (first, begin), (last, end) = token.start, token.end
            for number in range(first, last + 1):
                line = lines[number - 1]
                start, stop = begin if number == first else 0, end if number == last else len(line)
                prose[number - 1][start:stop] = _MARKS.sub(_blank, line[start:stop])
    return "".join("".join(line) for line in prose)


def _files(paths: list[Path]) -> Iterator[Path]:
    for path in paths:
        inside = sorted(each for each in path.rglob("*") if each.is_file()) if path.is_dir() else [path]
        yield from (each for each in inside if each.suffix in _SUFFIXES and "__pycache__" not in each.parts)


def main() -> int:
    """Print each idiom; the exit code is 1 if there are any."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("paths", nargs="*", type=Path, default=list(PATHS), metavar="PATH")
    found = [(path, one) for path in _files(parser.parse_args().paths) for one in findings(path)]
    for path, one in found:
        print(f'{path}:{one.line}: "{one.idiom}" is not plain English; write, for example: {one.instead}')
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
