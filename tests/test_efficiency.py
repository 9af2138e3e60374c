"""Costs against the dispatcher for many architectures, exported networks against PyTorch in other runtimes, devices."""

import json
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

from salnas import efficiency, exports
from salnas.predict import PACKAGED
from salnas.space import named_space
from salnas.supernet import Subnet, Supernet, macs, parameters


@pytest.mark.parametrize('name', ['alphanet', 'mobilenetv2', 'lite', 'tiny'])
def test_price_is_what_is_dispatched(name):
    space, rng = named_space(name), np.random.default_rng(5)
    for size in (288, 384), (200, 131):
        price = efficiency.Pricer(space, size)
        for arch in [space.max(), space.min(), space.sample(rng), space.sample(rng)][size == (200, 131) :: 2]:
            with torch.device('meta'):
                net = Subnet(space, arch)
            assert price(arch) == price(arch) == (macs(net, size), parameters(net))


def network(name='tiny', seed=0, **options):
    space = named_space(name, **options)
    net = Supernet(space, seed=seed).extract(space.sample(np.random.default_rng(seed))).train()
    g = torch.Generator().manual_seed(seed)
    for _ in range(8):
        net(torch.randn(2, 3, 96, 128, generator=g))
    return net.eval()


@pytest.mark.parametrize('name', ['alphanet', 'mobilenetv2', 'lite', 'tiny'])
def test_optimised_network_computes_the_same(name):
    net = network(name)
    x = torch.randn(1, 3, 96, 128, generator=torch.Generator().manual_seed(1))
    with torch.no_grad():
        want = net(x)
    assert (efficiency.optimize(net)(x) - want).abs().max() < 1e-4
    half = efficiency.optimize(net, 'bf16')(x)
    assert half.dtype == torch.float32 and np.corrcoef(half.flatten(), want.flatten())[0, 1] > 0.99
    assert sum(isinstance(m, torch.nn.BatchNorm2d) for m in net.modules()) > 5  # the network itself is untouched
    with torch.no_grad():
        assert torch.equal(net(x), want)


def test_what_cannot_be_optimised():
    with pytest.raises(ValueError, match='extract'):
        efficiency.optimize(Supernet(named_space('tiny')))
    with pytest.raises(ValueError, match='fp32'):
        efficiency.optimize(network(), 'int4')
    with pytest.raises(ValueError, match='choose one of fp32'):
        efficiency.model_size(network(), 'int4')


def test_onnx(tmp_path):
    pytest.importorskip('onnxruntime')
    net = network()
    found = efficiency.to_onnx(net, tmp_path / 'net.onnx', (96, 128))
    assert found.max_abs < 1e-4 and [p.name for p in tmp_path.iterdir()] == ['net.onnx']
    run = efficiency.load_exported(tmp_path / 'net.onnx', threads=1)
    for batch in 1, 3, 5:  # any batch
        images = torch.rand(batch, 3, 96, 128)
        with torch.no_grad():
            want = net(net.normalise(images))
        assert np.abs(run(images.numpy()) - want.numpy()).max() < 1e-4


@pytest.mark.parametrize('name', ['lite', 'tiny'])  # the others, which take long, are in slow/test_exports.py
def test_one_file_for_pictures_of_any_size(name):
    "The graph takes sizes from what it meets, also odd ones; and a fixed size may be another than the network's own."
    pytest.importorskip('onnxruntime')
    pytest.importorskip('openvino')
    net = network(name, strides=(1, 2, 4))
    data, long = exports.onnx_bytes(net, None), net.arch.resolution
    for runtime in 'onnx', 'openvino':
        run = exports.load_exported(data, 1, runtime=runtime)
        assert run.about == exports.stamp(net, None) and run.about['network'] == exports.network_identity(net)
        for size in (long, long // 2 + 1), (33, long):
            assert exports.agreement(run, net, size).max_abs < 1e-4
    net.output_size = 50, 70
    for size in (64, 96), (101, 75):
        run = exports.load_exported(exports.onnx_bytes(net, size), 1)
        assert exports.agreement(run, net, size).max_abs < 1e-4 and run.about['size'] == list(size)


def test_what_no_runtime_can_load(tmp_path):
    pytest.importorskip('openvino')
    (tmp_path / 'a.onnx').write_bytes(b'<html>')
    (tmp_path / 'a.xml').write_bytes(b'<html>')
    for file in 'a.onnx', 'a.xml':
        with pytest.raises(ValueError, match='damaged or no exported network'):
            efficiency.load_exported(tmp_path / file)
    with pytest.raises(FileNotFoundError, match='no exported network at'):
        efficiency.load_exported(tmp_path / 'b.onnx')
    data = exports.onnx_bytes(network(), (96, 128))
    for runtime, said in (('onnx', 'ONNX Runtime has no device'), ('openvino', 'OpenVINO has no device')):
        with pytest.raises(ValueError, match=f"{said} 'tpu' here: choose one of cpu"):
            exports.load_exported(data, device='tpu', runtime=runtime)
    with pytest.raises(ValueError, match="computes in 'fp32', got 'bf16'"):
        exports.load_exported(data, precision='bf16')


def test_export_that_differs_is_not_written(tmp_path, monkeypatch):
    pytest.importorskip('onnxruntime')
    plain = exports.load_exported
    monkeypatch.setattr(exports, 'load_exported', lambda *a: lambda images: plain(*a)(images) + 1e-3)
    with pytest.raises(RuntimeError, match='differs from PyTorch'):
        efficiency.to_onnx(network(), tmp_path / 'net.onnx', (96, 128))
    assert not list(tmp_path.iterdir())


def test_openvino_and_int8(tmp_path):
    for package in 'openvino', 'nncf':
        pytest.importorskip(package)
    from salnas.data import load_dataset

    part, net = load_dataset('popout', size=(96, 128)), network()
    assert efficiency.to_openvino(net, tmp_path / 'net.xml', (96, 128)).max_abs < 1e-4
    pictures = torch.stack([part.image(k) for k in range(16)])
    found = efficiency.to_openvino(net, tmp_path / 'int8.xml', (96, 128), pictures, least_cc=0.8)
    written = sorted(p.name for p in tmp_path.iterdir())
    assert 0.8 < found.cc < 0.999999 and written == ['int8.bin', 'int8.xml', 'net.bin', 'net.xml']
    assert (tmp_path / 'int8.bin').stat().st_size < 0.5 * (tmp_path / 'net.bin').stat().st_size
    with pytest.raises(ValueError, match='.xml'):
        efficiency.to_openvino(net, tmp_path / 'net.onnx')


def test_missing_package_names_its_extra(monkeypatch, tmp_path):
    monkeypatch.setitem(sys.modules, 'onnx', None)
    with pytest.raises(ImportError, match=r'pip install "salnas\[export\]"'):
        efficiency.to_onnx(network(), tmp_path / 'a.onnx')


def test_energy_says_where_it_comes_from():
    found = efficiency.energy(lambda: np.ones(1000).sum(), seconds=0.5)
    assert found['how'].startswith(('measured', 'estimated', 'codecarbon is not installed'))
    if found['how'].startswith('codecarbon'):
        assert 'joules_per_image' not in found
    else:
        assert found['joules_per_image'] >= 0 and found['seconds'] >= 0.5


def test_everything_is_measured_where_it_was_asked_for():
    "On `meta`, which computes shapes alone, a tensor left on the processor would be an error."
    net = network()
    table = efficiency.cost_table({'net': net}, (96, 128), batch=2, repeats=2, device='meta')
    assert table.attrs['device'] == 'meta' and table['ms median'].iloc[0] > 0
    fast = efficiency.optimize(net, device='meta')
    assert {t.device.type for t in fast.state_dict().values()} == {'meta'}
    assert len(efficiency.throughput(fast, (96, 128), (1, 2), 2)) == 2
    here, seen = efficiency.optimize(net), []
    here.register_forward_pre_hook(lambda _, x: seen.append(x[0].device.type))
    assert len(efficiency.throughput(here, (96, 128), (1,), 2, device='meta')) == 1 and set(seen) == {'meta'}
    assert next(here.parameters()).device.type == 'cpu'
    assert {t.device.type for t in net.state_dict().values()} == {'cpu'}


@pytest.mark.parametrize('device, waited', [('cpu', 0), ('cuda', 10), ('cuda:1', 10)])
def test_the_clock_waits_for_the_device(monkeypatch, device, waited):
    "A GPU returns before it is done: it is waited for before the clock starts, and before it is read."
    calls = []
    monkeypatch.setattr(torch.cuda, 'synchronize', lambda d: calls.append(('wait', str(d))))
    efficiency.latency(lambda: calls.append('run'), repeats=3, warmup=2, device=device)
    assert calls.count('run') == 5 and calls.count(('wait', device)) == waited == len(calls) - 5
    assert device == 'cpu' or calls[:3] == [('wait', device), 'run', ('wait', device)]


def test_energy_waits_for_the_device(monkeypatch):
    pytest.importorskip('codecarbon')
    calls = []
    monkeypatch.setattr(torch.cuda, 'synchronize', lambda d: calls.append('wait'))
    found = efficiency.energy(lambda: calls.append('run'), seconds=0.2, device='cuda')
    assert calls[:4] == ['run', 'wait'] * 2 and calls.count('run') == calls.count('wait') > 1
    assert found['seconds'] >= 0.2


def test_absent_device_is_one_sentence():
    with pytest.raises(ValueError, match="this machine has no device 'cuda:99': choose one of cpu"):
        efficiency.cost_table({'net': network()}, (96, 128), device='cuda:99')
    with pytest.raises(ValueError, match="this machine has no device 'cuda:99'"):
        efficiency.latency(lambda: None, device='cuda:99')
    with pytest.raises(ValueError, match="this machine has no device 'cuda:99'"):
        efficiency.throughput(efficiency.optimize(network()), device='cuda:99')


def test_benchmarks_run(tmp_path):
    "The command that makes the table, on its quickest entry."
    root = Path(__file__).resolve().parent.parent
    made = tmp_path / 'b.json'
    arguments = ['--only', 'arch_pricing', '--repeats', '2', '--out', made]
    run = [sys.executable, root / 'benchmarks/run.py', *arguments]
    out = subprocess.run(run, capture_output=True, text=True, cwd=root)
    assert out.returncode == 0, out.stderr
    found = json.loads(made.read_text())
    row = found['entries'][0]
    assert row['name'] == 'arch_pricing' and row['ratio'] > 1 and len(row['repetitions']['fast']) == 2
    assert found['provenance']['versions']['torch']


def test_benchmarks_load_networks_that_come_along():
    "Four of them used to load `small`, which is no longer packaged."
    sources = (Path(__file__).resolve().parent.parent / 'benchmarks').glob('*.py')
    names = {name for f in sources for name in re.findall(r"SaliencyModel\.load\('(\w+)'", f.read_text())}
    assert names and names <= set(PACKAGED)


def test_the_table_in_readme_is_what_the_files_give(tmp_path):
    root = Path(__file__).resolve().parent.parent
    copy = tmp_path / 'README.md'
    copy.write_text((root / 'README.md').read_text())
    command = [sys.executable, root / 'benchmarks/table.py', '--write', copy]
    subprocess.run(command, check=True, cwd=tmp_path)
    assert copy.read_text() == (root / 'README.md').read_text(), 'python benchmarks/table.py --write README.md'
    copy.write_text('no marks')
    assert 'must stand in the file' in subprocess.run(command, capture_output=True, text=True).stderr
