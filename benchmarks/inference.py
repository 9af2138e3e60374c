"""Maps of one picture, by runtime and precision, and by network."""

import functools
import tempfile
from dataclasses import replace
from pathlib import Path
from unittest.mock import patch

import torch
from harness import by_turns, entry, plain_copy
from PIL import Image
from salnas.efficiency import Pricer, optimize
from salnas.exports import agreement, load_exported, onnx_bytes, to_onnx, to_openvino
from salnas.space import named_space
from salnas.supernet import Supernet
from salnas.training import calibrated


@functools.lru_cache(maxsize=None)
def deployed(name, size):
    "A network with statistics of real pictures, and its plain copy."
    from salnas.data import load_dataset
    from salnas.predict import PACKAGED, SaliencyModel

    if name in PACKAGED:
        net = SaliencyModel.load(name).net
        return net, plain_copy(net).eval()
    space = named_space(name)
    net = calibrated(Supernet(space, seed=0), load_dataset('popout', size=size), space.max(), 64)
    return net, plain_copy(net).eval()


def inference(name, size, make, args, tolerance=None, least_cc=None):
    net, plain = deployed(name, size)
    images = torch.rand(1, 3, *size, generator=torch.Generator().manual_seed(0))
    with tempfile.TemporaryDirectory() as aside:
        run, found = make(net, Path(aside))
        turns = lambda: plain(net.normalise(images)), lambda: run(images.numpy())
        with torch.inference_mode():
            times = by_turns(*turns, args.repeats, calls=8, pause=0.3)
    if tolerance and found['max_abs'] > tolerance or least_cc and found['cc'] < least_cc:
        found['failed'] = f'not accurate enough: {tolerance or least_cc}'
    return *times, found | dict(what=f'batch 1, {size[0]}x{size[1]}, against eager NCHW fp32')


def vino(precision, size, int8=False):
    def make(net, aside):
        from salnas.data import load_dataset

        part = load_dataset('popout', size=size)
        pictures = torch.stack([part.image(k) for k in range(64)])
        to_openvino(net, aside / 'net.xml', size, pictures if int8 else None, least_cc=0.9)
        run = load_exported(aside / 'net.xml', torch.get_num_threads(), precision)
        found = agreement(run, net, size, pictures[:8])
        return run, vars(found) | dict(backend=f'OpenVINO {"int8" if int8 else precision}')

    return make


def onnx(size):
    def make(net, aside):
        found = to_onnx(net, aside / 'net.onnx', size)
        run = load_exported(aside / 'net.onnx', torch.get_num_threads())
        return run, vars(found) | dict(backend='ONNX Runtime fp32')

    return make


def torch_fused(net, aside):
    fast = optimize(net)
    run = lambda images: fast(net.normalise(torch.from_numpy(images)))
    return run, dict(max_abs=0.0, cc=1.0, backend='torch, folded, channels last')


def torch_compiled(net, aside):
    fast = optimize(net, compile=True)
    run = lambda images: fast(net.normalise(torch.from_numpy(images))).numpy()
    with torch.inference_mode():
        found = agreement(run, net, BIG, torch.rand(1, 3, *BIG))
        return run, vars(found) | dict(backend='torch.compile')


BIG = 288, 384


@entry(aim=2.5)
def infer_alphanet_max_fp32(args):
    return inference('alphanet', BIG, vino('fp32', BIG), args, tolerance=1e-4)


@entry(aim=2.5)
def infer_alphanet_max_onnx(args):
    return inference('alphanet', BIG, onnx(BIG), args, tolerance=1e-4)


@entry(aim=1.5)
def infer_alphanet_max_torch(args):
    return inference('alphanet', BIG, torch_fused, args)


@entry(aim=None)  # for those who stay in PyTorch
def infer_alphanet_max_compiled(args):
    return inference('alphanet', BIG, torch_compiled, args, tolerance=1e-4)


@entry(aim=4)
def infer_alphanet_max_bf16(args):
    return inference('alphanet', BIG, vino('bf16', BIG), args, least_cc=0.995)


@entry(aim=4)
def infer_m_int8(args):
    "Eight bits are judged on trained weights."
    from salnas.predict import SaliencyModel

    size = SaliencyModel.load('m').size
    return inference('m', size, vino('fp32', size, int8=True), args, least_cc=0.995)


def through(runtime):
    "The model `m`, from a picture to its density, by a runtime against PyTorch."

    def call(args):
        from salnas.data import popout
        from salnas.pictures import resize_image
        from salnas.predict import SaliencyModel

        plain, fast = SaliencyModel.load('m'), SaliencyModel.load('m', runtime=runtime)
        photo = resize_image(popout(n=1).read(0), (600, 800))
        turns = lambda: plain.predict(photo), lambda: fast.predict(photo)
        times, (a, b) = by_turns(*turns, args.repeats, calls=8, pause=0.3), [turn() for turn in turns]
        off = float(abs(a - b).max() / a.max())
        wrong = dict(failed='maps differ by more than 1e-3 of the peak') if off > 1e-3 else {}
        return *times, dict(off_peak=off, **wrong, what='predict a picture of 600x800, against the runtime torch')

    return call


@entry(aim=None)
def predict_by_onnx(args):
    return through('onnx')(args)


@entry(aim=None)
def predict_by_openvino(args):
    return through('openvino')(args)


@entry(aim=None)
def predict_beside_onnx(args):
    "From a file to a map by ONNX Runtime, whose threads spin between pictures as they do by default, or sleep."
    import onnxruntime
    from salnas.data import popout
    from salnas.pictures import resize_image
    from salnas.predict import SaliencyModel

    def spinning():
        with patch.object(onnxruntime.SessionOptions, 'add_session_config_entry', lambda *_: None):
            return SaliencyModel.load('xs', runtime='onnx')

    with tempfile.TemporaryDirectory() as aside:
        photo = Path(aside, 'photo.jpg')
        Image.fromarray(resize_image(popout(n=1).read(0), (600, 800))).save(photo)
        plain, fast = spinning(), SaliencyModel.load('xs', runtime='onnx')
        turns = lambda: plain.predict(photo), lambda: fast.predict(photo)
        times = by_turns(*turns, args.repeats, calls=8, pause=0.3)
        off = float(abs(turns[0]() - turns[1]()).max())
    return *times, dict(off=off, what='`xs` from a file of 600x800 to its map, ONNX Runtime, spinning against sleeping')


@entry(aim=None)
def found_against_authors_largest(args):
    """A cheaper network against the authors' largest: same machine, runtime, picture size; accuracy is not compared.

    EfficientNet-Lite0 whose decoder stops at stride 4, against the largest of `alphanet`. Weights play no part."""
    lite = named_space('lite')
    archs = {'alphanet': named_space('alphanet').max(), 'lite': replace(lite.max(), stride=4)}
    runs, cost, threads = {}, {}, torch.get_num_threads()
    for name, arch in archs.items():
        space = named_space(name)
        net = Supernet(space, seed=0).extract(arch).eval()
        runs[name] = load_exported(onnx_bytes(net, BIG), threads, runtime='openvino')
        cost[f'{name}_M_MACs'] = Pricer(space, BIG).macs(arch) / 1e6
    images = torch.rand(1, 3, *BIG, generator=torch.Generator().manual_seed(0)).numpy()
    times = by_turns(*(functools.partial(runs[k], images) for k in archs), args.repeats, calls=8, pause=0.3)
    return *times, cost | dict(what='Lite0 at stride 4 against the largest alphanet, 288x384, OpenVINO fp32')
