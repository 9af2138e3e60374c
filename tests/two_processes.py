"""Trains for two epochs and saves the gradients of every step and the last weights: alone, or started by torchrun.

    python tests/two_processes.py OUT KD BATCHES_PER_PROCESS"""
import sys

import torch
from salnas.data import load_dataset
from salnas.selfkd import named_kd
from salnas.space import tiny_space
from salnas.supernet import Supernet
from salnas.training import Settings, distributed, fit

out, name, accumulate = sys.argv[1], sys.argv[2], int(sys.argv[3])
torch.set_num_threads(1)
part = load_dataset('popout', 'val', size=(48, 64))
net, kd, gradients = Supernet(tiny_space(), seed=0), named_kd(name), []
listen = kd.step_end


def step_end(student):
    gradients.append(torch.cat([p.grad.flatten() for p in student.parameters() if p.grad is not None]))
    listen(student)


kd.step_end = step_end
settings = Settings(epochs=2, batch_size=4, accumulate=accumulate, n_random=1, calibration=16, lr_encoder=1e-4, lr_decoder=1e-4)
with distributed():
    fit(net, part, part, kd, settings, seed=5, progress=False)
    rank = torch.distributed.get_rank() if torch.distributed.is_initialized() else 0
torch.save({'gradients': gradients, 'weights': net.state_dict()}, f'{out}.{rank}.pt')
