"""`get` and `verify` that are killed at any moment: nothing half-made can be loaded, and the next `get` completes."""

import http.server
import os
import random
import shutil
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

HERE = Path(__file__).resolve().parent.parent
sys.path[:0] = [str(HERE)]
import fake_archives as fake  # noqa: E402

from salnas import data, sources  # noqa: E402

# what runs in the process that is killed: a set of 400 pictures in OSIE's layout, downloaded from a slow server, then
# verified
CODE = '''
import sys
from dataclasses import replace
sys.path[:0] = [{tests!r}]
import fake_archives as fake
from salnas import sources
file = sources.File('osie.zip', ({url!r},), digest={digest!r})
counts = dict(expected=dict(images=400, viewers=3), published={{}})
authors = dict(n_train=300, sigma_px=16, offset=1.0)
source = replace(sources.source_of('osie'), files=(file,), megabytes=1, authors=authors, **counts)


def say(line):
    print(line, flush=True)


say('started')
sources.get('osie', (), {root!r}, overwrite={overwrite}, quiet=True, source=source, say=say)
sources.verify('osie', {root!r})
say('verified')
'''


class Slow(http.server.BaseHTTPRequestHandler):
    "Serves one file, a part at a time, from wherever it is asked to."

    def log_message(self, *_):
        pass

    def do_GET(self):
        start = int(self.headers['Range'][6:].split('-')[0]) if 'Range' in self.headers else 0
        self.send_response(206 if start else 200)
        if start:
            self.send_header('Content-Range', f'bytes {start}-{len(self.body) - 1}/{len(self.body)}')
        self.send_header('Content-Length', str(len(self.body) - start))
        self.end_headers()
        try:
            for at in range(start, len(self.body), len(self.body) // 40 + 1):
                self.wfile.write(self.body[at : at + len(self.body) // 40 + 1])
                self.wfile.flush()
                time.sleep(0.01)
        except OSError:
            pass  # the other side was killed


@pytest.mark.parametrize('overwrite', [False, True])
def test_kill_9_at_random_moments(tmp_path, overwrite):
    "Twenty kills in all, ten while a set is prepared for the first time, ten while it is replaced."
    _, archives, planted = fake.nested(tmp_path, 'osie', n=400)
    Slow.body = archives[0].read_bytes()
    server = http.server.ThreadingHTTPServer(('127.0.0.1', 0), Slow)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    root = tmp_path / 'root'
    code = CODE.format(
        tests=str(HERE),
        url=f'http://127.0.0.1:{server.server_port}/osie.zip',
        digest='sha256:' + data.checksum(archives[0]),
        root=str(root),
        overwrite=overwrite,
    )

    def started():  # returns when the modules are loaded, so that kills fall into the work
        p = subprocess.Popen(
            [sys.executable, '-c', code],
            stdout=subprocess.PIPE,
            text=True,
            env=os.environ | dict(OMP_NUM_THREADS='1', PYTHONPATH=str(HERE.parent)),
        )
        assert p.stdout.readline() == 'started\n'
        return p

    process, began = started(), time.perf_counter()
    assert process.wait() == 0  # as long as it takes when left alone; and what is replaced below
    length, rng, left = time.perf_counter() - began, random.Random(int(overwrite)), []
    for k in range(10):
        if not overwrite:
            shutil.rmtree(root / 'osie', ignore_errors=True)
        if k % 2 == 0:
            shutil.rmtree(root / '.downloads', ignore_errors=True)  # from the start; else from what is there
        process = started()
        time.sleep(rng.uniform(0, length * (1 if k % 2 == 0 else 0.5)))
        process.kill()
        process.wait()
        left.append(sorted(f.name for f in root.iterdir() if f.name != '.downloads'))
        if (root / 'osie').exists():  # then it is whole
            assert len(data.load_recording('osie', root)) == 400
            assert sources.verify('osie', root).set_index('check').ok[['checksums', 'files', 'picture sizes']].all()
        else:
            with pytest.raises(FileNotFoundError):
                data.load_recording('osie', root)
    print(f'{length:.1f} s of work; left by the kills:', *left, sep='\n  ')
    assert overwrite or any('osie' not in names for names in left)  # some of them came in time
    assert started().wait() == 0
    recording = data.load_recording('osie', root)
    assert {n: len(rows) for n, rows in planted.items()} == {
        n: int((recording.image_id == i).sum()) for i, n in enumerate(sorted(planted))
    }
    assert sorted(f.name for f in root.iterdir()) == ['.downloads', 'osie']
    assert not list((root / '.downloads').rglob('*.part'))
    server.shutdown()
