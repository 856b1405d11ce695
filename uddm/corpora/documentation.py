"""English prose from the documentation that comes with Python.

The sources are the language reference in `pydoc_data.topics` and the docstrings of the standard library,
read from its source files with `ast`: no module is imported for its docstring.
"""

import ast
import os
import re
import sysconfig
import warnings
from collections.abc import Iterator
from pathlib import Path

_SKIPPED_FOLDERS = {
    "dist-packages",
    "encodings",
    "ensurepip",
    "idlelib",
    "lib2to3",
    "pydoc_data",
    "site-packages",
    "test",
    "tests",
    "turtledemo",
}

_UNDERLINE = re.compile(r"\s*([^\w\s])\1{2,}\s*$")
_HEADING = re.compile(r"\s*[A-Z][\w ]*:$")
_BULLET = re.compile(r"^\s*(?:[-*+•o]|\(?\d{1,2}[.)]|\[\d+\])\s+(?=\S)")
_LABEL = re.compile(  # "name: ", "'name' -- ", ":param name: ", "name    "
    r"^\s*(?::\w+(?: \w+)*:|[-*'\"/]*[\w.]+(?:\(.*?\))?['\"]?(?::| *--?| {2}))\s+(?=\S)"
)
_CODE_LINE = re.compile(r"::=|^\s*\.\. |^\s*\$ |\s# |\b(?:def|class|for|while|with|except) .*:$")
_TABLE_LINE = re.compile(r"[^\s.?!:;\"')] {3,}\S|[|+]\s*$|-{4}|={3}|_{4}")
_MARKUP = [
    (re.compile(pattern), replacement)
    for pattern, replacement in (
        (r"(?<=\w)-\n\s*(?=\w)", "-"),
        (r"\s+", " "),
        (r":(?:\w+:)+`[~!]?([^`<]*?)(?: *<[^`]*>)?`", r"\1"),  # :func:`x` and :ref:`x <y>`
        (r"`+([^`]+?)[`']+_*", r"\1"),  # `x`, ``x``, `x'
        (r"(?<![\w*])\*{1,2}([^ *](?:[^*]*[^ *])?)\*{1,2}(?![\w*])", r"\1"),  # *x* and **x**
        (r"[“”]", '"'),
        (r"[‘’]", "'"),
        (r"(?<=\w)\((e?s)\)", r"\1"),  # file(s)
        (r"(?<=\w)\([^()]*\)", ""),  # f(x)
        (r" ?\[\d+\]", ""),  # footnotes
        (r"^ ?(?:New|Changed|Deprecated[\w ,.-]*) in version [\d.]+: ", ""),
        (r" ?---? ?", " - "),
        (r"^ |[ :;,]+$", ""),
        (r"(?<![.?!])(?<![.?!][\"')])$", "."),
    )
]
_SENTENCE_END = re.compile(r"(?<=[.?!]) (?=[A-Z\"(])")
_SYMBOL = re.compile(r"[\\{}<>^|@~=%$#&*`]|::|\.\.\.")
_PLAIN_WORD = re.compile(r"[\"'(]*(?:[A-Z]?[a-z]+(?:[-'/][A-Za-z]?[a-z]+)*|[A-Z]+|\d+)[\"')]*[.,;:?!]*[\"')]*")
_FUNCTION_WORD = re.compile(
    r"(?i)\b(?:a|all|an|and|any|are|as|at|be|but|by|can|do|does|for|from|has|have|if|in|is|it|its|may|must|no|"
    r"not|of|on|one|only|or|other|should|some|such|than|that|the|then|there|these|they|this|to|used|was|were|"
    r"when|which|will|with|you)\b"
)


def extract_paragraphs() -> list[str]:
    """Paragraphs of English prose of at least six words, each on one line, in a fixed order.

    Sentences with code symbols are left out, and so are sentences that differ in no letter from an
    earlier one.
    """
    paragraphs: list[str] = []
    seen: set[str] = set()
    for text in (*_topics(), *_docstrings()):
        for lines in _items(text):
            sentences = {re.sub(r"[^a-z]+", " ", s.lower()): s for s in _sentences(lines)}
            new = {letters: s for letters, s in sentences.items() if letters not in seen}
            prose = " ".join(new.values())
            if _is_prose(prose):
                paragraphs.append(prose)
                seen.update(new)
    return paragraphs


def _topics() -> Iterator[str]:
    from pydoc_data.topics import topics

    for name in sorted(topics):
        yield topics[name]


def _docstrings() -> Iterator[str]:
    """Docstrings of the modules, classes and functions of the standard library, in order of the source."""
    library = Path(sysconfig.get_path("stdlib"))
    paths: list[Path] = []
    for folder, subfolders, files in os.walk(library):
        subfolders[:] = set(subfolders) - _SKIPPED_FOLDERS
        paths += [Path(folder, file) for file in files if file.endswith(".py")]
    for path in sorted(paths):
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # such as invalid escapes
            nodes: list[ast.AST] = [ast.parse(path.read_bytes())]
        while nodes:
            node = nodes.pop()
            if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
                yield ast.get_docstring(node) or ""
            children = [n for n in ast.iter_child_nodes(node) if isinstance(n, ast.stmt | ast.excepthandler)]
            nodes.extend(reversed(children))


def _items(text: str) -> Iterator[list[str]]:
    """Paragraphs and list items as lists of lines, without titles, bullets, labels and examples."""
    for paragraph in re.split(r"\n\s*\n", text.strip("\n")):
        first, *_ = paragraph.split("\n")
        is_list = _LABEL.match(first) or _HEADING.match(first)
        item: list[str] = []
        for line in paragraph.split("\n"):
            if ">>>" in line:
                break
            if _UNDERLINE.match(line) or _HEADING.match(line):
                item = []
                continue
            body = _BULLET.sub("", line)
            if is_list or body != line:
                body = _LABEL.sub("", body)
            if item and body != line:
                yield item
                item = []
            item.append(body)
        yield item


def _sentences(lines: list[str]) -> list[str]:
    """Sentences without markup; none from code samples, tables and nested layouts."""
    indents = {len(line) - len(line.lstrip()) for line in lines[1:]}
    if len(indents) > 1 or any(_CODE_LINE.search(line) or _TABLE_LINE.search(line) for line in lines):
        return []
    text = "\n".join(lines)
    for pattern, replacement in _MARKUP:
        text = pattern.sub(replacement, text)
    return [sentence for sentence in _SENTENCE_END.split(text) if not _SYMBOL.search(sentence)]


def _is_prose(text: str) -> bool:
    words = text.split()
    plain_words = sum(_PLAIN_WORD.fullmatch(word) is not None for word in words)
    return (
        len(words) >= 6
        and text[0].isalpha()
        and plain_words >= 0.85 * len(words)
        and len(_FUNCTION_WORD.findall(text)) >= 0.15 * len(words)
    )
