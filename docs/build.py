"""Builds the site: nbs/ -> MyST sources in build/docs -> Sphinx -> Pagefind -> check -> _docs.

    python -m docs.build

Nothing is executed but imports of the library. A build that fails leaves an older _docs as it was."""

import re
import shutil
import subprocess
import sys
import time
from pathlib import Path

import nbformat
import yaml
from sphinx.cmd.build import main as sphinx

from . import check, navigation, pages, trial
from .navigation import Section, docname
from .objects import Objects, contents
from .text import Links

ROOT = Path(__file__).resolve().parent.parent


def facts(nbs: Path) -> dict:
    "Title, address, description and repository of the site, from the file that Quarto reads."
    return yaml.safe_load((nbs / 'nbdev.yml').read_text())['website']


def symbols() -> dict:
    "Module -> full names of what its notebook defines, as `nbdev_export` wrote them."
    from salnas._modidx import d

    return {module: list(names) for module, names in d['syms'].items()}


def rooms(whole: Section) -> list:
    "(title, sources) of the parts of the sidebar, sections within sections apart."
    parts = []
    for c in whole.contents:
        inner = [s for s in getattr(c, 'contents', ()) if isinstance(s, Section)]
        if isinstance(c, Section):
            parts += [(f'{c.title}: {s.title}', s.sources) for s in inner] or [(c.title, c.sources)]
    return parts


def llms(site: dict, listed: list) -> str:
    "llms.txt: every page with its sentence and its Markdown twin. listed: (source, title, sentence)"
    lines = [f'# {site["title"]}', '', f'> {site["description"]}', '', '## Pages', '']
    lines += [f'- [{t}]({site["site-url"]}/{docname(s)}.md): {sentence}' for s, t, sentence in listed]
    return '\n'.join(lines) + '\n'


def write_sources(
    nbs: Path,  # with sidebar.yml, nbdev.yml and the pages
    out: Path,  # gets pages/ for Sphinx and extra/ to be copied as it is
) -> int:
    "Everything that Sphinx reads; returns how many pages of nbs/ there are."
    site, whole, names = facts(nbs), navigation.navigation(nbs), Objects(symbols())
    repository, home = site['repo-url'], navigation.toctrees(whole)
    listed, modules, texts = [], {}, {}
    shutil.rmtree(out, ignore_errors=True)
    for source in whole.sources:
        path, target = nbs / source, out / 'pages' / docname(source)
        copy = out / 'extra' / 'notebooks' / source
        for file in (target, copy, twin := out / 'extra' / f'{docname(source)}.md'):
            file.parent.mkdir(parents=True, exist_ok=True)
        listed.append((source, *navigation.title_and_sentence(path)))
        links = Links(source, whole.sources, nbs.parent, repository, names.resolve)
        if path.suffix == '.md':
            texts[source] = links(path.read_text())
            twin.write_text(path.read_text())
            continue
        notebook = nbformat.read(path, 4)
        if module := pages.module_of(notebook):
            modules[source] = module
        links.resolve = lambda name, module=module: names.resolve(name, module)
        made = pages.page(notebook, source, links, repository, tail=home if source == 'index.ipynb' else '')
        nbformat.write(made, target.with_suffix('.ipynb'))
        nbformat.write(pages.with_install(notebook, source, repository), copy)
        twin.write_text(pages.twin(notebook))
    links = Links('', whole.sources, nbs.parent, repository, names.resolve)
    if 'api.md' in texts:
        texts['api.md'] += '\n' + contents(rooms(whole), modules, links)
    for source, text in texts.items():
        (out / 'pages' / f'{docname(source)}.md').write_text(text)
    for name, text in navigation.section_pages(whole, nbs).items():
        (out / 'pages' / f'{name}.md').write_text(text)
    for part in ('pages', 'extra'):  # Sphinx gives pictures other names; whoever shares a page asks for these
        shutil.copytree(nbs / 'images', out / part / 'images')
    (out / 'extra' / 'llms.txt').write_text(llms(site, listed))
    return len(listed)


def indexed(
    html: Path,  # the folder of the built pages
):
    """Pagefind's index of the sections. SystemExit with what it says if it fails.

    It wants the ids on the headings, where Sphinx puts them on the sections, and takes the sign behind for text."""
    section = re.compile(r'<section([^>]*?) id="([^"]+)"([^>]*)>(\s*(?:<span id="[^"]*"></span>\s*)*)<(h[1-6])>')
    for page in html.rglob('*.html'):
        text = section.sub(r'<section\1\3>\4<\5 id="\2">', page.read_text(encoding='utf-8'))
        text = text.replace('<a class="headerlink"', '<a data-pagefind-ignore class="headerlink"')
        page.write_text(text, encoding='utf-8')
    done = subprocess.run([sys.executable, '-m', 'pagefind', '--site', html], capture_output=True, text=True)
    if done.returncode:
        raise SystemExit(f'Pagefind failed:\n{done.stdout}{done.stderr}')


def build(
    root: Path = ROOT,  # of the repository
    out: Path = None,  # of the site; None: _docs there
) -> Path:
    "Builds and checks the site. SystemExit with what is wrong, also at a warning of Sphinx."
    out, work, started = out or root / '_docs', root / 'build' / 'docs', time.perf_counter()
    write_sources(root / 'nbs', work)
    print(f'sources: {time.perf_counter() - started:.0f} s', flush=True)
    trial.write(work / 'extra' / 'try', cache=root / 'build' / 'npm')
    print(f'networks: {time.perf_counter() - started:.0f} s', flush=True)
    html = work / 'html'
    options = [
        '-q',
        '-W',
        '--keep-going',
        '-j',
        '2',
        '-b',
        'html',
        '-c',
        str(root / 'docs'),
        '-d',
        str(work / 'doctrees'),
    ]
    if sphinx([*options, str(work / 'pages'), str(html)]):
        raise SystemExit('Sphinx warned or failed: see above')
    for bundle in (html / '_static/mathjax').glob('*.js'):  # a page loads one of twenty
        if bundle.name != 'tex-chtml.js':
            bundle.unlink()
    print(f'Sphinx: {time.perf_counter() - started:.0f} s', flush=True)
    indexed(html)
    faults = check.faults(html, base=facts(root / 'nbs')['site-url'])
    if faults:
        raise SystemExit('\n'.join(faults) + f'\n{len(faults)} faults: the site is not replaced')
    shutil.rmtree(out, ignore_errors=True)
    html.rename(out)
    print(f'{out}: {time.perf_counter() - started:.0f} s')
    return out


if __name__ == '__main__':
    build()
