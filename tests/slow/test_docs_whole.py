"The documentation site built whole, and looked at in a browser."

import json
import os
import statistics
import sys
from pathlib import Path

import numpy as np
import PIL
import pytest
from PIL import Image

TESTS = Path(__file__).resolve().parent.parent
sys.path[:0] = [str(TESTS), str(TESTS.parent)]

for module in ('sphinx', 'myst_nb', 'furo', 'pagefind'):
    pytest.importorskip(module, reason='the extra `docs` is missing: pip install -e .[docs]')

import browser  # noqa: E402
from docs import build, check, navigation, trial  # noqa: E402
from salnas.photographs import photographs  # noqa: E402
from salnas.predict import SaliencyModel, overlay  # noqa: E402

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
    links = '[...document.querySelectorAll(".pagefind-ui__result-link")].map(a => a.href)'
    tab.wait(f'{links}.some(link => link.includes("glossary.html#sandwich-rule"))')  # results come one by one


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


@pytest.fixture
def trying(site, tab):
    "The page that computes maps, its module as `page`."
    if not json.loads((site / 'try/about.json').read_text())['runtime']:
        pytest.skip('the site was built without a network: it has no ONNX Runtime Web')
    tab.open(f'{tab.address}/try.html')
    tab.run('import(new URL("_static/try.js", location)).then(m => { window.page = m; })')
    return tab


def choose(tab, file, answer='page.latest?.text == name'):
    "Give the page a file and wait for its answer."
    asked = tab.call('Runtime.evaluate', expression='document.querySelector("#try-file")')
    tab.call('DOM.setFileInputFiles', files=[str(file)], objectId=asked['result']['objectId'])
    tab.run(f'window.name = {json.dumps(file.name)}')
    tab.wait(answer)


SAYS = 'document.querySelector("#try-says").textContent'


TALL = int(PIL.__version__.split('.')[0]) >= 13  # Pillow shrinks tall pictures by height first, as the page does


@needs_browser
@pytest.mark.parametrize('name', ['s', 'm', 'xs'])
def test_maps_of_the_browser_are_those_of_python(trying, tmp_path, name):
    trying.run(f'document.querySelector("#try-networks [value={name}]").click()')
    model = SaliencyModel.load(name)
    for i, size in ((4, None), (6, (517, 301)), (0, (300, 300)), *[(2, (90, 1000))] * TALL):
        photo = Image.fromarray(photographs().read(i))
        photo = photo.resize(size) if size else photo
        photo.save(file := tmp_path / f'{i}.png')
        choose(trying, file)
        want, found = model.predict(file), np.array(trying.run('Array.from(page.latest.density)'))
        found = found.reshape(want.shape)  # the picture's own size
        difference = np.abs(found / found.max() - want / want.max()).max()
        print(f'{name}, {photo.size}: largest difference {difference:.1e} of the peak; {trying.run(SAYS)}')
        assert difference < 1e-3 and abs(found.sum() - 1) < 1e-4
        canvas = 'document.querySelector("#try-overlay")'
        shown = trying.run(f'Array.from({canvas}.getContext("2d").getImageData(0, 0, {want.shape[1]}, 9).data)')
        shown = np.array(shown).reshape(9, -1, 4)[..., :3]
        assert np.abs(shown - overlay(np.asarray(photo), want)[:9].astype(int)).max() <= 3


@needs_browser
def test_pictures_reach_the_network_as_in_python(trying):
    "Bit for bit, for shrinking and enlarging alike."
    noise = np.random.default_rng(0).integers(0, 256, (61, 83, 4), np.uint8)
    for height, width in ((138, 184), (40, 50), (7, 5), (61, 83), *[(20, 184)] * TALL):
        script = f"""import(new URL("_static/saliency.js", location)).then(m => Array.from(m.squashed(
            new ImageData(new Uint8ClampedArray({noise.ravel().tolist()}), 83), [{height}, {width}])))"""
        want = np.asarray(Image.fromarray(noise[..., :3]).resize((width, height), Image.BILINEAR))
        assert np.array_equal(np.array(trying.run(script)).reshape(want.shape), want)


@needs_browser
def test_photographs_at_hand_take_less_than_half_a_second_and_nothing_leaves(trying):
    times = []
    for k, text in enumerate(trial.SAMPLES.values()):
        trying.run(f'document.querySelectorAll("#try-photographs button")[{k}].click()')
        trying.wait(f'page.latest?.text == {json.dumps(text)}')
        times.append(trying.run('page.latest.ms'))
    print(f's: median {statistics.median(times):.0f} ms, from {min(times):.0f} to {max(times):.0f}')
    assert statistics.median(times) < 500
    for fact in ' ms', '276 million MACs', '16.8 MB':
        assert fact in trying.run(SAYS)
    fetched = trying.run('performance.getEntriesByType("resource").map(e => e.name)')
    assert any('.onnx' in f for f in fetched) and all(f.startswith((trying.address, 'data:', 'blob:')) for f in fetched)


@needs_browser
def test_a_dropped_photograph_is_turned_upright(trying, tmp_path):
    photo = Image.fromarray(photographs().read(6))
    exif = Image.Exif()
    exif[274] = 6  # lies on its side
    photo.rotate(90, expand=True).save(file := tmp_path / 'a.jpg', quality=95, exif=exif)
    trying.run(f"""(() => {{ const files = new DataTransfer();
        files.items.add(new File([new Uint8Array({list(file.read_bytes())})], 'dropped.jpg', {{type: 'image/jpeg'}}));
        document.body.dispatchEvent(new DragEvent('drop', {{dataTransfer: files, bubbles: true}})); }})()""")
    trying.wait('page.latest?.text == "dropped.jpg"')
    want, found = SaliencyModel.load('s').predict(file), np.array(trying.run('Array.from(page.latest.density)'))
    assert [trying.run(f'page.latest.picture.{side}') for side in ('height', 'width')] == list(want.shape) == [300, 400]
    assert np.corrcoef(found, want.ravel())[0, 1] > 0.999  # decoders of JPEG differ


@needs_browser
def test_what_goes_wrong_is_said(trying, tmp_path):
    (tmp_path / 'a.txt').write_text('no picture')
    choose(trying, tmp_path / 'a.txt', f'{SAYS}.startsWith("a.txt is no picture")')
    trying.call('Network.enable')
    trying.call('Network.setBlockedURLs', urls=['*.wasm'])
    try:
        trying.run('document.querySelector("#try-photographs button").click()')
        trying.wait(f'{SAYS}.includes("could not be started")')
    finally:
        trying.call('Network.setBlockedURLs', urls=[])


@needs_browser
def test_a_site_built_without_a_network_says_what_its_page_lacks(site, tab, tmp_path, monkeypatch):
    def offline(*args, **kwargs):
        raise ConnectionError('no network')

    monkeypatch.setattr(trial, 'fetch', offline)
    for part in site.iterdir():
        if part.name != 'try':
            (tmp_path / part.name).symlink_to(part.resolve())
    trial.write(tmp_path / 'try', tmp_path / 'cache')
    with browser.served(tmp_path, 'elsewhere') as address:
        tab.open(f'{address}/try.html')
        tab.wait(f'{SAYS}.includes("could not be downloaded when the site was built")')
        assert tab.run('document.querySelector("#try-tools").hidden')
