"""Exports of the largest, the smallest and five random networks of three spaces, strides 1 to 4, at both sizes.

ONNX Runtime and OpenVINO against PyTorch."""

import numpy as np
import pytest
import torch

from salnas import efficiency, exports
from salnas.data import load_dataset
from salnas.space import named_space
from salnas.supernet import Supernet
from salnas.training import calibrated


@pytest.mark.parametrize('size', [(288, 384), (192, 256)])
@pytest.mark.parametrize('name', ['alphanet', 'mobilenetv2', 'lite'])
def test_exports_agree(tmp_path, name, size):
    pytest.importorskip('openvino')
    space, rng = named_space(name, strides=(1, 2, 4)), np.random.default_rng(0)
    supernet, pictures = Supernet(space, seed=0), load_dataset('popout', size=size)
    images = torch.stack([pictures.image(k) for k in range(2)])
    archs = {'largest': space.max(), 'smallest': space.min()}
    archs |= {f'random {i}': space.sample(rng) for i in range(5)}
    for which, arch in archs.items():
        net = calibrated(supernet, pictures, arch, 16)
        exports.to_openvino(net, tmp_path / 'net.xml', size)
        exports.to_onnx(net, tmp_path / 'net.onnx', size)
        run, long = exports.load_exported(exports.onnx_bytes(net, None), 1), arch.resolution  # for any size
        for shape in (long, long // 2 + 1), (33, long):
            assert exports.agrees(exports.agreement(run, net, shape), net, shape)
        files = {'onnx': ('net.onnx', 'fp32'), 'openvino': ('net.xml', 'fp32'), 'openvino bf16': ('net.xml', 'bf16')}
        runs = {k: exports.load_exported(tmp_path / f, 1, p) for k, (f, p) in files.items()}
        found = {k: exports.agreement(run, net, size, images) for k, run in runs.items()}
        told = '; '.join(f'{k} {a.max_abs:.1e}, CC {a.cc:.6f}' for k, a in found.items())
        print(f'{name} {size} {which}, stride {arch.stride}: {told}', flush=True)
        assert all(exports.agrees(found[k], net, size, images) for k in ('onnx', 'openvino'))
        assert found['openvino bf16'].cc > 0.98


def test_compiled_network_computes_the_same():
    space = named_space('tiny')
    net = calibrated(Supernet(space, seed=0), load_dataset('popout', size=(96, 128)), space.max(), 16)
    x = torch.randn(1, 3, 96, 128, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        want = net(x)
    assert (efficiency.optimize(net, compile=True)(x) - want).abs().max() < 1e-4
