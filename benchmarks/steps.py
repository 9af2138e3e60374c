"""Training steps, in processes of their own: what the allocator does to one way must not reach the other.

python benchmarks/steps.py NAME plain|fast THREADS GRADIENTS.npy     # the other end, see `harness.Worker`
"""

import sys
import tempfile
from pathlib import Path

import numpy as np
import torch
from harness import Worker, entry, plain_copy, processes_by_turns, serve
from salnas.allocator import SWITCH, keep_pages
from salnas.data import collate, load_dataset
from salnas.efficiency import Pricer, latency
from salnas.precision import resolved
from salnas.space import named_space
from salnas.supernet import Supernet
from salnas.training import NoKD, make_optimizer, named_profile, sandwich_step, train_step
from torch.nn import functional as F


def sample_data(batch, h, w, seed=0):
    g = torch.Generator().manual_seed(seed)
    density = torch.rand(batch, h, w, generator=g)
    images = torch.randn(batch, 3, h, w, generator=g)
    fixations = (torch.rand(batch, h, w, generator=g) > 0.997).float()
    return images, density / density.sum((1, 2), keepdim=True), fixations


def of_resolution(space, resolution, seed):
    rng = np.random.default_rng(seed)
    return next(a for a in iter(lambda: space.sample(rng), None) if a.resolution == resolution)


# --- what a step is: ((batch, height, width), architectures) once or several times ---


def alphanet():
    space = named_space('alphanet')
    large = (8, 288, 384), [space.max(), of_resolution(space, 384, 0)]
    return space, [large, ((8, 192, 256), [of_resolution(space, 256, 1), space.min()])]


def of_three(space):
    return space, [((16, 192, 256), [space.max(), space.sample(np.random.default_rng(0)), space.min()])]


JOBS = {
    'alphanet': alphanet,
    'mobilenetv2': lambda: of_three(named_space('mobilenetv2', resolutions=(256,))),
    'lite': lambda: of_three(named_space('lite', resolutions=(256,), strides=(4,))),
}


def sandwich(name, kind):
    "The network, and a step of its sandwiches: plainly, or as salnas makes it."
    space, jobs = JOBS[name]()
    net = Supernet(space, seed=0).train()
    net = plain_copy(net) if kind == 'plain' else net.to(memory_format=torch.channels_last)
    layout = torch.contiguous_format if kind == 'plain' else torch.channels_last
    data = [(sample_data(*size), archs) for size, archs in jobs]

    def step():
        net.zero_grad()
        for (x, density, fixations), archs in data:
            images = x.contiguous(memory_format=layout)
            sandwich_step(net, images, density, fixations, archs, dropout=0.0, drop_connect=0.0)

    return net, step


def profile(kind):
    "The network, and a whole step of the `cpu` profile, with data and optimizer: as it was (bf16), or as it is."
    settings = named_profile('cpu', 'mobilenetv2', **({'precision': 'bf16'} if kind == 'plain' else {}))
    settings = resolved(settings, say=lambda said: print(said, file=sys.stderr))
    net = Supernet(named_space('mobilenetv2'), seed=0).train().to(memory_format=torch.channels_last)
    part = load_dataset('popout', size=settings.size)
    batch = collate([part[k] for k in range(settings.batch_size)])
    optimizer, *_ = make_optimizer(net, settings, steps=100)
    return net, lambda: train_step(net, [batch], NoKD(), optimizer, settings)


def main(name, kind, threads, file):
    torch.set_num_threads(int(threads))
    keep_pages()
    net, step = profile(kind) if name == 'profile' else sandwich(name, kind)
    serve(step)
    np.save(file, torch.cat([p.grad.flatten() for p in net.parameters() if p.grad is not None]).numpy())


# --- both ways by turns ---


def worker(name, kind, threads, file, **env):
    return Worker(__file__, name, kind, threads, file, **{SWITCH: '0' if kind == 'plain' else '1'} | env)


def both(name, args, **env):
    "Seconds of both ways; what each costs besides, and the cosine of the angle between their gradients."
    with tempfile.TemporaryDirectory() as aside:
        files = [Path(aside, f'{kind}.npy') for kind in ('plain', 'fast')]
        ways = [worker(name, file.stem, args.threads, file, **env) for file in files]
        times, found = processes_by_turns(ways, min(args.repeats, 5))
        plain, fast = (torch.from_numpy(np.load(file)).double() for file in files)
    return times, found | dict(gradient_cosine=float(F.cosine_similarity(plain, fast, 0)))


def seconds_at_peak(name):
    """Seconds that the operations of a step take at the pace of the processor's fastest convolution, and that pace.

    A step is a forward pass, and twice as many operations backward."""
    x = torch.randn(4, 256, 48, 64).contiguous(memory_format=torch.channels_last)
    w = torch.randn(256, 256, 3, 3).contiguous(memory_format=torch.channels_last)
    with torch.inference_mode():
        ms = latency(lambda: F.conv2d(x, w, padding=1), 20, 5).min_ms.iloc[0]
    peak = 2 * 4 * 48 * 64 * 256 * 256 * 9 / (ms / 1e3)
    space, jobs = JOBS[name]()
    price = {size: Pricer(space, size[1:]) for size, _ in jobs}
    operations = sum(3 * 2 * size[0] * price[size].macs(a) for size, archs in jobs for a in archs)
    return operations / peak, peak / 1e9


def against_plain(name, args, what):
    times, found = both(name, args)
    seconds, peak = seconds_at_peak(name)
    found |= dict(peak_GFLOPs=peak, fraction_of_peak=seconds / float(np.median(times[1])))
    return *times, found | dict(what=what)


@entry(aim=2.7)
def train_step_alphanet(args):
    what = 'training step, `alphanet`: max + random at 288x384, random + min at 192x256, batch 8'
    return against_plain('alphanet', args, what)


@entry(aim=2.0)
def train_step_mobilenetv2(args):
    return against_plain('mobilenetv2', args, 'training step, `mobilenetv2`: sandwich of 3 at 192x256, batch 16')


@entry(aim=1.8)
def cpu_profile_step(args):
    with tempfile.TemporaryDirectory() as root:  # the precision is measured anew
        times, found = both('profile', args, SALNAS_DATA=root)
    what = 'the `cpu` profile\'s own step, `mobilenetv2`: sandwich of 4, batch 16, against bf16 without kept pages'
    del found['gradient_cosine']  # bf16 draws other numbers for dropout
    return *times, found | dict(what=what)


@entry(aim=0.4)
def lite_stride4_sandwich(args):
    with tempfile.TemporaryDirectory() as aside:
        way = worker('lite', 'fast', args.threads, Path(aside, 'fast.npy'))
        (times,), found = processes_by_turns([way], min(args.repeats, 5))
    seconds, peak = seconds_at_peak('lite')
    what = 'training step, `lite` at stride 4: sandwich of 3 at 192x256, batch 16, against its operations at the peak'
    return [seconds], times, found | dict(peak_GFLOPs=peak, what=what)


if __name__ == '__main__':
    main(*sys.argv[1:])
