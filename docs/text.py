"Prose of notebooks as MyST: links between notebooks become links between pages, names of the library become roles."

import re
from pathlib import Path
from posixpath import normpath, relpath

from .navigation import docname

# in this order: what stays as it is (fences, headings, formulas), links, code spans
PIECES = re.compile(
    r'(?P<keep>^(?P<fence>```+|~~~+).*?^(?P=fence)\s*$|^#+ .*?$|\$\$.*?\$\$|(?<![\\$])\$[^$\n]+?\$)'
    r'|(?P<link>!?\[(?P<label>[^\]\n]*)\]\((?P<target>[^)\s]+)\))'
    r'|(?P<code>(?<!`)`(?P<name>[^`\n]+)`(?!`))',
    re.M | re.S,
)


class Links:
    "Rewrites the text of one page."

    def __init__(
        self,
        source: str,  # the page's file in nbs/, such as 'workshop/runs.ipynb'
        sources,  # those of all pages
        root: Path,  # of the repository
        repository: str,  # its address, for links to files that are no pages
        resolve,  # written name -> full name of a documented object, or None
    ):
        self.source, self.sources, self.root, self.repository = source, set(sources), root, repository
        self.resolve = resolve

    def __call__(self, text: str) -> str:
        "The text as MyST. ValueError where a link leads nowhere."
        return PIECES.sub(self._piece, text)

    def _piece(self, match):
        if match['keep'] is not None:
            return match[0]
        if match['link'] is not None:
            picture = '!' if match[0].startswith('!') else ''
            return f'{picture}[{match["label"]}]({self.target(match["target"])})'
        full = self.resolve(match['name'].removesuffix('()'))
        return f'{{py:obj}}`{match["name"]} <{full}>`' if full else match[0]

    def target(self, target: str) -> str:
        "Where a link leads on the site: a page, a picture, or the repository for other files."
        if re.match(r'[a-z]+:|#|/', target):
            return target
        file, _, anchor = target.partition('#')
        file = normpath((Path(self.source).parent / file).as_posix())
        if file in self.sources:
            here = Path(docname(self.source)).parent.as_posix()
            return relpath(docname(file), here) + Path(file).suffix + ('#' + anchor if anchor else '')
        found = self.root / 'nbs' / file
        if not found.exists():
            raise ValueError(f'nbs/{self.source} links to {target}, which is not there: correct the link')
        if found.suffix in ('.png', '.jpg', '.svg'):
            return '/' + file
        return f'{self.repository}/blob/main/{found.resolve().relative_to(self.root.resolve()).as_posix()}'


def escaped(text: str) -> str:
    "A docstring or comment as Markdown: what looks like markup outside of code spans is taken literally."
    parts = re.split(r'(`[^`\n]*`)', text)
    return ''.join(p if i % 2 else re.sub(r'([<$*\\])', r'\\\1', p) for i, p in enumerate(parts))
