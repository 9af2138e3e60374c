"The explorer in JupyterLab, in a browser: sliders by the keyboard, buttons, an upload, both sandboxes."

import contextlib
import json
import os
import re
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path
from urllib.request import urlopen

import nbformat
import pytest

ROOT = Path(__file__).resolve().parent.parent.parent
sys.path[:0] = [str(ROOT / 'tests')]

import browser  # noqa: E402

from salnas.efficiency import Pricer  # noqa: E402
from salnas.teaching import trained_supernet  # noqa: E402

playwright = pytest.importorskip('playwright.sync_api', reason='playwright is missing: pip install -e .[dev]')
pytest.importorskip('jupyterlab', reason='the extra `lab` is missing: pip install -e .[lab]')
pytestmark = pytest.mark.skipif(not browser.CHROMIUM, reason='there is no chromium here')
TOKEN, ERROR = 'explorer-test', '[data-mime-type="application/vnd.jupyter.error"]'


def free_port():
    with socket.socket() as s:
        s.bind(('127.0.0.1', 0))
        return s.getsockname()[1]


@contextlib.contextmanager
def lab(folder):
    "Address of a JupyterLab that serves a folder; it and its kernels end with the block."
    port = free_port()
    command = [sys.executable, '-m', 'jupyterlab', '--no-browser', '--allow-root', f'--port={port}']
    command += ['--ip=127.0.0.1', f'--IdentityProvider.token={TOKEN}', f'--ServerApp.root_dir={folder}']
    places = 'JUPYTER_CONFIG_DIR', 'JUPYTER_RUNTIME_DIR', 'IPYTHONDIR', 'JUPYTERLAB_SETTINGS_DIR'
    own = {k: str(folder / k) for k in places}
    choices = {
        'notebook-extension/tracker': {'windowingMode': 'none'},  # cells out of sight would not be on the page
        'apputils-extension/notification': {'fetchNews': 'false', 'checkForUpdates': False},
    }
    for name, values in choices.items():
        file = folder / f'JUPYTERLAB_SETTINGS_DIR/@jupyterlab/{name}.jupyterlab-settings'
        file.parent.mkdir(parents=True)
        file.write_text(json.dumps(values))
    own |= {'OMP_NUM_THREADS': '1'}  # two threads that wait for each other on a busy machine take minutes
    env = os.environ | own | {'IN_TEST': '1', 'JUPYTER_PREFER_ENV_PATH': '1', 'PYTHONPATH': str(ROOT)}
    with open(folder / 'lab.log', 'w') as log:
        server = subprocess.Popen(command, env=env, stdout=log, stderr=log, start_new_session=True)
        try:
            address = f'http://127.0.0.1:{port}'
            for _ in range(240):
                with contextlib.suppress(OSError):
                    urlopen(f'{address}/api?token={TOKEN}', timeout=5).read()
                    break
                assert server.poll() is None, (folder / 'lab.log').read_text()[-3000:]
                time.sleep(0.5)
            yield address
        finally:
            with contextlib.suppress(OSError):  # kernels are shut down by a server that is asked to end
                server.send_signal(signal.SIGINT)
                server.send_signal(signal.SIGTERM)
                server.wait(30)
            with contextlib.suppress(OSError):
                os.killpg(server.pid, signal.SIGKILL)


def write_notebook(path):
    "The lesson without outputs, and a cell at its end that shows all three tabs."
    notebook = nbformat.read(ROOT / 'nbs/13_explorer.ipynb', 4)
    for cell in notebook.cells:
        cell.get('outputs', []).clear()
    notebook.cells.append(nbformat.v4.new_code_cell("tabs = explore(net)\ntabs.add_class('all-three')\ntabs"))
    nbformat.write(notebook, path)


@pytest.fixture(scope='module')
def page(tmp_path_factory):
    "The notebook, run whole, with the three tabs of `explore` at its end."
    folder = tmp_path_factory.mktemp('lab')
    write_notebook(folder / 'explorer.ipynb')
    with lab(folder) as address, playwright.sync_playwright() as p:
        chromium = p.chromium.launch(executable_path=browser.CHROMIUM, args=['--no-sandbox', '--disable-gpu'])
        opened = chromium.new_page(viewport={'width': 1400, 'height': 1100})
        opened.set_default_timeout(120_000)
        opened.goto(f'{address}/lab/tree/explorer.ipynb?token={TOKEN}')
        opened.folder, opened.kernels = folder, f'{address}/api/kernels?token={TOKEN}'
        opened.wait_for_selector('.jp-Notebook .jp-Cell')
        opened.wait_for_selector('#jp-main-statusbar >> text=| Idle')  # a cell that is run before waits for ever
        idle(opened)
        opened.click('text=Run >> nth=0')
        opened.click('text=Run All Cells >> nth=0')
        opened.wait_for_selector(f'.all-three img, {ERROR}', state='attached', timeout=480_000)
        assert not (wrong := opened.locator(ERROR).all_inner_texts()), wrong
        idle(opened, 300)
        yield opened
        chromium.close()


def idle(page, seconds=60):
    "Until the kernel has nothing to do, twice in a row."
    end, quiet = time.time() + seconds, 0
    while quiet < 2:
        assert time.time() < end, f'the kernel is busy after {seconds} s'
        page.wait_for_timeout(100)
        states = [k['execution_state'] for k in json.load(urlopen(page.kernels))]
        quiet = quiet + 1 if states == ['idle'] else 0


def photograph_of(page, name):
    "A screenshot, for whoever wants to look: SALNAS_SCREENSHOTS names a folder."
    if folder := os.environ.get('SALNAS_SCREENSHOTS'):
        page.screenshot(path=f'{folder}/{name}.png')


def megamacs(tabs):
    return float(re.search(r'([\d.]+) M MACs', tabs.inner_text())[1])


def changed(tabs, act):
    "Seconds from an act to another map, and the MACs that stand there then."
    shown = tabs.locator('img[alt$="map of this network"]')
    before, start = shown.get_attribute('src'), time.time()
    act()
    while shown.get_attribute('src') == before:
        assert time.time() < start + 60, f'the same map after a minute: {tabs.inner_text()}'
        time.sleep(0.01)
    return time.time() - start, megamacs(tabs)


def test_nothing_went_wrong_when_all_cells_ran(page):
    for outputs in (ERROR, '[data-mime-type="application/vnd.jupyter.stderr"]'):
        assert not page.locator(outputs).all_inner_texts()
    assert not page.locator('.all-three p[role=alert]').all_inner_texts()


def test_the_network_follows_buttons_and_keys(page):
    net = trained_supernet()
    space, price = net.space, Pricer(net.space, net.transform.size)
    tabs = page.locator('.all-three')
    tabs.scroll_into_view_if_needed()
    idle(page)
    macs = lambda arch: round(price.macs(arch) / 1e6, 1)
    assert megamacs(tabs) == macs(space.max())
    photograph_of(page, 'largest')

    press = lambda name: tabs.get_by_role('button', name=name, exact=True).click()
    assert changed(tabs, lambda: press('min'))[1] == macs(space.min())
    idle(page)
    photograph_of(page, 'smallest')

    values, took = dict(zip(space.genes, space.values(space.min()))), []
    for name in ('depth6', 'depth6', 'kernel_size5', 'expand_ratio4', 'width7', 'resolution'):
        kind, stage = re.fullmatch(r'(.*?)(\d*)', name).groups()
        label = f'{kind.split("_")[0]} {stage}'.strip()
        control = tabs.locator('.widget-inline-hbox', has=page.get_by_text(label, exact=True))
        control.locator('[role=slider]').focus()
        choices = sorted(space.genes[name])
        values[name] = choices[choices.index(values[name]) + 1]
        seconds, shown = changed(tabs, lambda: page.keyboard.press('ArrowRight'))
        took.append(round(seconds, 2))
        assert shown == macs(space.arch(list(values.values()))), name
        idle(page)
    print('seconds from a key to another map:', took)
    photograph_of(page, 'keys')

    assert macs(space.min()) < changed(tabs, lambda: press('random'))[1] < macs(space.max())
    idle(page)
    assert changed(tabs, lambda: press("a front's pick"))[1] < macs(space.max())
    idle(page)
    photograph_of(page, 'front')
    assert changed(tabs, lambda: press('max'))[1] == macs(space.max())
    idle(page)


def upload(page, file):
    with page.expect_file_chooser() as opened:
        page.locator('.all-three').get_by_role('button', name='your own').click()
    opened.value.set_files(file)


def test_a_photograph_can_be_uploaded_and_a_text_is_refused(page):
    tabs = page.locator('.all-three')
    (page.folder / 'notes.txt').write_text('no picture')
    upload(page, page.folder / 'notes.txt')
    alert = tabs.locator('p[role=alert]')
    alert.wait_for(state='attached')
    assert 'cannot read notes.txt as a picture' in alert.inner_text()
    upload(page, ROOT / 'salnas/osie/1139.jpg')
    tabs.locator('img[alt="1139.jpg: map of this network"]').wait_for()
    idle(page)
    assert alert.count() == 0 and 'there are no scores' in tabs.inner_text()
    photograph_of(page, 'uploaded')


def test_the_sandboxes_follow_their_sliders(page):
    tabs = page.locator('.all-three')
    tabs.locator('.lm-TabBar-tab', has_text='Metrics').click()
    sandbox = tabs.locator('.jupyter-widgets', has=page.get_by_text('blob: share', exact=True)).last
    scores = lambda: tabs.locator('svg[aria-label^="scores"]:visible').get_attribute('aria-label')
    before = scores()
    sandbox.locator('[role=slider]').focus()
    for _ in range(3):
        page.keyboard.press('ArrowLeft')
    idle(page)
    assert scores() != before
    photograph_of(page, 'metrics')

    tabs.locator('.lm-TabBar-tab', has_text='Self-KD').click()
    alpha = tabs.locator('.widget-inline-hbox', has=page.get_by_text('α', exact=True))
    alpha.locator('[role=slider]').focus()
    page.keyboard.press('ArrowRight')
    tabs.locator('figcaption', has_text='target: 0.55 G + 0.45 T').wait_for()
    viewers = tabs.locator('.widget-inline-hbox', has=page.get_by_text('viewers', exact=True))
    viewers.locator('[role=slider]').focus()
    page.keyboard.press('ArrowRight')
    tabs.locator('figcaption', has_text='label G: 3 viewers').wait_for()
    photograph_of(page, 'selfkd')
    assert tabs.locator('p[role=alert]').count() == 0
