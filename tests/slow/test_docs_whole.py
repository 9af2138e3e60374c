"The documentation site built whole, and looked at in a browser."

import os
import sys
from pathlib import Path

import pytest

TESTS = Path(__file__).resolve().parent.parent
sys.path[:0] = [str(TESTS), str(TESTS.parent)]

for module in ('sphinx', 'myst_nb', 'furo', 'pagefind'):
    pytest.importorskip(module, reason='the extra `docs` is missing: pip install -e .[docs]')

import browser  # noqa: E402
from docs import build, check, navigation  # noqa: E402

NBS = build.ROOT / 'nbs'
BASE = build.facts(NBS)['site-url']
needs_browser = pytest.mark.skipif(not browser.CHROMIUM, reason='there is no chromium here')


@pytest.fixture(scope='module')
def site(tmp_path_factory):
    "SALNAS_SITE names a site that is there already."
    if ready := os.environ.get('SALNAS_SITE'):
        return Path(ready)
    return build.build(out=tmp_path_factory.mktemp('built') / 'site')


@pytest.fixture(scope='module')
def tab(site):
    with browser.served(site, BASE.rsplit('/', 1)[1]) as address, browser.tab() as opened:
        opened.address = address
        yield opened


def test_every_page_is_there_and_nothing_is_wrong(site):
    sources = navigation.navigation(NBS).sources
    for source in sources:
        for suffix in ('.html', '.md'):
            assert (site / (navigation.docname(source) + suffix)).is_file()
        assert not source.endswith('.ipynb') or (site / 'notebooks' / source).is_file()
    assert not check.faults(site, BASE)
    assert (site / 'llms.txt').read_text().count('\n- ') == len(sources)
    assert {'404.html', '.nojekyll', 'find.html', 'genindex.html'} <= {p.name for p in site.iterdir()}
    assert not (site / '_static/mathjax/tex-svg.js').exists() and (site / '_static/mathjax/tex-chtml.js').exists()


def test_signatures_parameters_and_figures_arrive(site):
    page = (site / 'data.html').read_text()
    assert 'id="salnas.data.count_map"' in page and 'how many fixations fall into each cell' in page
    assert '#| ' not in page and 'show_doc' not in page
    assert 'alt="A row of 8 pixels' in page
    assert '>Search Page<' not in page


def test_a_site_with_a_broken_page_does_not_replace_a_whole_one(tmp_path, monkeypatch):
    old = tmp_path / 'site'
    old.mkdir()
    (old / 'index.html').write_text('old')
    monkeypatch.setattr(build, 'sphinx', lambda options: 1)
    with pytest.raises(SystemExit):
        build.build(out=old)
    assert (old / 'index.html').read_text() == 'old'


@needs_browser
def test_no_page_is_wider_than_a_phone(site, tab):
    wide = {}
    for page in sorted(site.rglob('*.html')):
        name = page.relative_to(site).as_posix()
        if not name.startswith(('_static', 'pagefind')):
            tab.open(f'{tab.address}/{name}', width=390)
            if (width := tab.run('document.documentElement.scrollWidth')) > 390:
                wide[name] = width
    assert not wide, wide


@needs_browser
def test_pages_fetch_nothing_from_another_site(tab):
    for name in ('index.html', 'metrics.html', 'find.html?q=density'):
        tab.open(f'{tab.address}/{name}')
        fetched = tab.run('performance.getEntriesByType("resource").map(e => e.name)')
        assert fetched and not [f for f in fetched if not f.startswith((tab.address, 'data:', 'blob:'))]


@needs_browser
def test_formulas_are_set(tab):
    tab.open(f'{tab.address}/metrics.html')
    tab.wait('document.querySelectorAll("mjx-container").length > 5')


@needs_browser
def test_search_finds_sections(tab):
    tab.open(f'{tab.address}/find.html?q=sandwich')
    tab.wait('document.querySelectorAll(".pagefind-ui__result-link").length > 2')
    links = tab.run('[...document.querySelectorAll(".pagefind-ui__result-link")].map(a => a.href)')
    assert any('glossary.html#sandwich-rule' in link for link in links), links


@needs_browser
def test_light_and_dark(tab):
    colour = 'getComputedStyle(document.body).backgroundColor'
    seen = []
    for theme in ('light', 'dark'):
        tab.call('Emulation.setEmulatedMedia', features=[{'name': 'prefers-color-scheme', 'value': theme}])
        tab.open(f'{tab.address}/index.html')
        seen.append(sum(map(int, tab.run(colour).strip('rgb()').split(',')[:3])))
    tab.call('Emulation.setEmulatedMedia', features=[])
    assert seen[0] > 700 and seen[1] < 150, seen
