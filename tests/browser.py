"A headless Chromium for tests of pages: opens addresses and evaluates scripts there, by its debugging protocol."

import base64
import contextlib
import json
import shutil
import subprocess
import tempfile
import threading
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.request import urlopen

from tornado.ioloop import IOLoop
from tornado.websocket import websocket_connect

CHROMIUM = shutil.which('chromium') or shutil.which('chromium-browser') or shutil.which('google-chrome')


class Quiet(SimpleHTTPRequestHandler):
    def log_message(self, *args):
        pass


@contextlib.contextmanager
def served(folder, prefix):
    "Address at which a folder is served, below a prefix as on GitHub Pages."
    with tempfile.TemporaryDirectory() as top:
        (Path(top) / prefix.strip('/')).symlink_to(Path(folder).resolve())
        server = ThreadingHTTPServer(('localhost', 0), partial(Quiet, directory=top))
        threading.Thread(target=server.serve_forever, daemon=True).start()
        try:
            yield f'http://localhost:{server.server_port}/{prefix.strip("/")}'
        finally:
            server.shutdown()
            server.server_close()


class Tab:
    "One page of the browser."

    def __init__(self, socket, loop):
        self.socket, self.loop, self.n = socket, loop, 0

    def call(self, method, **params):
        return self.loop.run_sync(lambda: self._call(method, params), timeout=120)

    async def _call(self, method, params):
        self.n += 1
        await self.socket.write_message(json.dumps({'id': self.n, 'method': method, 'params': params}))
        while True:
            answer = json.loads(await self.socket.read_message())
            if answer.get('id') == self.n:
                assert 'error' not in answer, answer
                return answer['result']

    def run(self, script):
        "Value of a JavaScript expression; a promise is awaited."
        result = self.call('Runtime.evaluate', expression=script, awaitPromise=True, returnByValue=True)
        assert 'exceptionDetails' not in result, result
        return result['result'].get('value')

    def open(self, address, width=1280, height=1000):
        "Load a page at a width in CSS pixels."
        size = dict(width=width, height=height, deviceScaleFactor=1, mobile=False)
        self.call('Emulation.setDeviceMetricsOverride', **size)
        self.call('Page.navigate', url=address)
        self.wait(f'document.readyState == "complete" && location.href.startsWith({json.dumps(address)})')

    def wait(self, condition, seconds=60):
        "Until a JavaScript condition holds."
        script = f"""new Promise((done, failed) => {{ const end = Date.now() + {seconds * 1000};
            const look = () => ({condition}) ? done(true) : Date.now() > end ? done(false) : setTimeout(look, 50);
            look(); }})"""
        assert self.run(script), f'not within {seconds} s: {condition}'

    def picture(self, path):
        "A screenshot, for whoever wants to look."
        Path(path).write_bytes(base64.b64decode(self.call('Page.captureScreenshot')['data']))


@contextlib.contextmanager
def tab():
    "A page of a browser that lives as long as the block."
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as profile:
        flags = [
            '--headless',
            '--no-sandbox',
            '--disable-gpu',
            '--remote-debugging-port=0',
            f'--user-data-dir={profile}',
        ]
        browser = subprocess.Popen([CHROMIUM, *flags, 'about:blank'], stderr=subprocess.PIPE, text=True)
        loop = IOLoop(make_current=False)
        try:
            address = next(line.split()[-1] for line in browser.stderr if 'DevTools listening' in line)
            threading.Thread(target=browser.stderr.read, daemon=True).start()
            pages = json.load(urlopen(f'http://{address.split("/")[2]}/json'))
            target = next(p for p in pages if p['type'] == 'page')['webSocketDebuggerUrl']
            yield Tab(loop.run_sync(lambda: websocket_connect(target, max_message_size=2**27)), loop)
        finally:
            browser.terminate()
            browser.wait(30)
            loop.close()
