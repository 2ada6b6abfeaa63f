"""Decides windows in Python, as somebody writes it who knows paho, numpy and PyTorch."""

import json
import os

import safetensors.torch
import torch
from network import SpectralNetwork
from windows import CHANNELS, WINDOW, decide_windows

torch.set_num_threads(1)
torch.set_num_interop_threads(1)
network = SpectralNetwork(**json.loads(os.environ["NETWORK"]))
network.load_state_dict(safetensors.torch.load_file(os.environ["WEIGHTS"]))
network.eval()
with torch.inference_mode():
    # Traced and frozen, a window by itself takes three fifths of the time: less of it is Python.
    example = torch.zeros(2, WINDOW, CHANNELS, dtype=torch.int16), torch.ones(2, CHANNELS)
    network = torch.jit.freeze(torch.jit.trace(network, example))


@torch.inference_mode()
def run(windows, scales):
    return network(torch.from_numpy(windows), torch.from_numpy(scales)).numpy()


decide_windows(run)
