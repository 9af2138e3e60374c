"""What must hold of the built site: `python -m docs.check _docs`.

Links and anchors inside lead somewhere; pictures have a text; no page fetches anything from another site; each page has
one heading of the first rank, a title, a description and a picture for whoever shares it; ids are unique."""

import re
import sys
from pathlib import Path
from urllib.parse import unquote, urldefrag, urlparse

from bs4 import BeautifulSoup

FETCHED = {'script': 'src', 'img': 'src', 'iframe': 'src', 'link': 'href', 'source': 'src', 'video': 'src'}
# links that describe and fetch nothing
DESCRIBING = {'canonical', 'next', 'prev', 'index', 'search', 'author', 'copyright'}


class Site:
    "The pages of a folder, read once."

    def __init__(self, folder: Path, base: str):
        self.folder, self.base = folder, base.rstrip('/')
        files = sorted(
            f for f in folder.rglob('*.html') if not {'_static', 'pagefind'} & set(f.relative_to(folder).parts)
        )
        self.pages = {f: BeautifulSoup(f.read_text(encoding='utf-8'), 'html.parser') for f in files}
        self.ids = {f: [t['id'] for t in page.find_all(id=True)] for f, page in self.pages.items()}
        self.counted = dict(pages=len(files), links=0, pictures=0)

    def local(self, page: Path, address: str):
        "(file, anchor) of an address that stays on the site, else None."
        path = urlparse(self.base).path
        address = address.removeprefix(self.base) if address.startswith(self.base + '/') else address
        address, anchor = urldefrag(address)
        if urlparse(address).scheme or address.startswith('//'):
            return None
        address = unquote(address.split('?')[0])
        if address.startswith('/'):
            file = self.folder / address.removeprefix(path).lstrip('/')
        else:
            file = page.parent / address if address else page
        file = file.resolve()
        return (file / 'index.html' if file.is_dir() else file), unquote(anchor)


def _links(site, page, soup):
    for tag in soup.find_all('a', href=True):
        local = site.local(page, tag['href'])
        if local is None:
            continue
        site.counted['links'] += 1
        file, anchor = local
        if not file.is_file():
            yield f'link to {tag["href"]}, which is not there'
        elif anchor and file in site.ids and anchor not in site.ids[file]:
            yield f'link to {tag["href"]}: the page has no such anchor'


def _pictures(site, page, soup):
    for tag in soup.find_all('img'):
        site.counted['pictures'] += 1
        alt = tag.get('alt')
        if not alt or re.search(r'\.(png|jpe?g|svg|gif)$', alt):
            yield f'picture {tag.get("src", "")[-40:]} without a text that describes it: {alt!r}'


def _fetches(site, page, soup):
    for name, attribute in FETCHED.items():
        for tag in soup.find_all(name, attrs={attribute: True}):
            if DESCRIBING & set(tag.get('rel', [])) or tag[attribute].startswith('data:'):
                continue
            local = site.local(page, tag[attribute])
            if local is None:
                yield f'<{name}> fetches {tag[attribute]} from another site'
            elif not local[0].is_file():
                yield f'<{name}> fetches {tag[attribute]}, which is not there'


def _shape(site, page, soup):
    if len(soup.find_all('h1')) != 1:
        yield f'{len(soup.find_all("h1"))} headings of the first rank instead of one'
    if not soup.title or not soup.title.get_text(strip=True):
        yield 'no title'
    generated = page.name in ('404.html', 'genindex.html', 'find.html')
    shared = soup.find('meta', property='og:image')
    if not generated and not (
        shared and site.local(page, shared['content']) and soup.find('meta', {'name': 'description'})
    ):
        yield 'no description or no picture for whoever shares the page'
    elif shared and not site.local(page, shared['content'])[0].is_file():
        yield f'the picture {shared["content"]} is not there'
    twice = sorted({i for i in site.ids[page] if site.ids[page].count(i) > 1})
    if twice:
        yield f'ids that occur more than once: {twice[:5]}'


def _styles(folder):
    for sheet in folder.rglob('*.css'):
        for address in re.findall(
            r'(?:url\(|@import )[\'"]?((?:https?:)?//[^\'")]+)', sheet.read_text(encoding='utf-8')
        ):
            yield f'{sheet.relative_to(folder)}: fetches {address} from another site'


def faults(
    folder: Path,  # of the site
    base: str,  # address at which it will stand
) -> list:
    "A sentence per fault; prints what was looked at."
    site, found = Site(Path(folder).resolve(), base), []
    for page, soup in site.pages.items():
        for test in (_links, _pictures, _fetches, _shape):
            found += [f'{page.relative_to(site.folder)}: {fault}' for fault in test(site, page, soup)]
    found += _styles(site.folder)
    c = site.counted
    print(f'{c["pages"]} pages, {c["links"]} links inside, {c["pictures"]} pictures: {len(found)} faults')
    return found


if __name__ == '__main__':
    from .build import ROOT, facts

    wrong = faults(sys.argv[1] if len(sys.argv) > 1 else ROOT / '_docs', facts(ROOT / 'nbs')['site-url'])
    sys.exit('\n'.join(wrong))
