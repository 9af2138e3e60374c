"Which pages the site has, in which order and under which names; read from nbs/sidebar.yml, which Quarto reads as well."

import re
from dataclasses import dataclass
from pathlib import Path

import nbformat
import yaml


def docname(source: str) -> str:
    "The page of a file of nbs/, named as nbdev names it: '00_data.ipynb' -> 'data', 'workshop/runs.ipynb' -> as it is."
    path = Path(source)
    return path.with_name(re.sub(r'^\d+[a-zA-Z0-9]*_', '', path.stem.lower())).as_posix()


@dataclass(frozen=True)
class Section:
    "A headed part of the sidebar."

    title: str
    contents: tuple  # of sources (str) and of sections
    folder: str = ''  # where its own page would stand

    @property
    def docname(self):
        "Of the page that lists a section within a section."
        return f'{self.folder}/section-{self.title.lower()}'.lstrip('/')

    @property
    def sources(self) -> list:
        "Its pages and those of its sections, in the order of reading."
        return [s for c in self.contents for s in (c.sources if isinstance(c, Section) else [c])]


def _section(title, contents):
    parts = tuple(_section(c['section'], c['contents']) if isinstance(c, dict) else c for c in contents)
    first = next((c for c in parts if isinstance(c, str)), '')
    return Section(title, parts, Path(first).parent.as_posix() if '/' in first else '')


def navigation(
    nbs: Path,  # the folder with sidebar.yml and the pages
) -> Section:
    """The whole sidebar as a section without a title.

    ValueError if a page is listed twice or is not there, or if two pages would get the same name."""
    listed = yaml.safe_load((nbs / 'sidebar.yml').read_text())['website']['sidebar']['contents']
    whole = _section('', listed)
    missing = [s for s in whole.sources if not (nbs / s).is_file()]
    if missing:
        raise ValueError(f'nbs/sidebar.yml lists {missing}, which are not there: correct the names or remove them')
    names = [docname(s) for s in whole.sources]
    names += [s.docname for c in whole.contents if isinstance(c, Section) for s in c.contents if isinstance(s, Section)]
    twice = sorted({n for n in names if names.count(n) > 1})
    if twice:
        raise ValueError(f'several pages of nbs/sidebar.yml would be called {twice}: rename all but one')
    return whole


def title_and_sentence(path: Path) -> tuple:
    "What stands in the first cell of a notebook, or in the title and the first paragraph of a Markdown page."
    if path.suffix == '.ipynb':
        text = nbformat.read(path, 4).cells[0].source
    else:
        text = path.read_text()
    title, *rest = (line.strip() for line in text.splitlines() if line.strip())
    return title.lstrip('# '), rest[0].lstrip('> ') if rest else ''


def toctree(entries, caption=None, hidden=True) -> str:
    "A MyST table of contents of page names."
    options = [f':caption: {caption}'] * bool(caption) + [':hidden:'] * hidden
    return '\n'.join(['```{toctree}', *options, '', *(f'/{e}' for e in entries), '```'])


def _entry(item):
    return item.docname if isinstance(item, Section) else docname(item)


def toctrees(whole: Section, home='index') -> str:
    "What the home page ends with: a hidden table of contents for every section of the sidebar, which the theme draws."
    loose = [docname(c) for c in whole.contents if isinstance(c, str) and docname(c) != home]
    parts = [toctree(loose)] if loose else []
    sections = [c for c in whole.contents if isinstance(c, Section)]
    return '\n\n'.join(parts + [toctree(map(_entry, s.contents), s.title) for s in sections])


def section_pages(whole: Section, nbs: Path) -> dict:
    "Page name -> text of a page for each section within a section: its rooms, each with its sentence."
    pages = {}
    for outer in whole.contents:
        for s in (c for c in getattr(outer, 'contents', ()) if isinstance(c, Section)):
            lines = [f'# {s.title}', '', f'{outer.title}: the rooms on {s.title.lower()}, in the order of reading.', '']
            for source in s.sources:
                title, sentence = title_and_sentence(nbs / source)
                lines.append(f'- [{title}](/{docname(source)}): {sentence}')
            pages[s.docname] = '\n'.join(lines) + '\n\n' + toctree(map(docname, s.sources)) + '\n'
    return pages
