"What is built for others holds all that comes along."

import shutil
import subprocess
import sys
import tarfile
import zipfile
from pathlib import Path

ROOT = Path(__file__).parents[2]


def test_wheel_and_sdist_hold_what_comes_along_and_the_sdist_makes_the_same_wheel(tmp_path):
    tree = tmp_path / 'salnas'
    left_out = shutil.ignore_patterns('.git', '.venv*', 'runs', '_proc', '_docs', 'results', 'build', '*.egg-info')
    shutil.copytree(ROOT, tree, ignore=left_out)
    for kind in 'sdist', 'bdist_wheel':
        build = [sys.executable, 'setup.py', '-q', kind, '-d', tmp_path / 'out']
        subprocess.run(list(map(str, build)), cwd=tree, check=True, capture_output=True)
    [wheel], [sdist] = (tmp_path / 'out').glob('*.whl'), (tmp_path / 'out').glob('*.tar.gz')
    along = {
        f'salnas/{d}/{f.name}'
        for d in ('weights', 'osie', 'supernets', 'tables')
        for f in (ROOT / 'salnas' / d).iterdir()
    }
    assert {'salnas/osie/LICENSE', 'salnas/osie/fixations.npz'} <= along
    assert {'salnas/weights/m.safetensors', 'salnas/supernets/lite.safetensors'} <= along
    assert along <= set(zipfile.ZipFile(wheel).namelist())
    assert along <= {n.partition('/')[2] for n in tarfile.open(sdist).getnames()}
    with tarfile.open(sdist) as archive:
        archive.extractall(tmp_path / 'from', filter='data')
    [source] = (tmp_path / 'from').iterdir()
    build = [sys.executable, 'setup.py', '-q', 'bdist_wheel', '-d', tmp_path / 'again']
    subprocess.run(list(map(str, build)), cwd=source, check=True, capture_output=True)
    [again] = (tmp_path / 'again').glob('*.whl')
    assert set(zipfile.ZipFile(again).namelist()) == set(zipfile.ZipFile(wheel).namelist())
