"""The network of the shipped bundle in PyTorch: log spectra of short frames and three statistics as tokens, an encoder, a linear head."""

import torch
from encoder import Layer
from torch import nn

FRAME = 64
FLOOR = 1e-5


class Standardize(nn.Module):
    def __init__(self, features):
        super().__init__()
        self.register_buffer("mean", torch.zeros(features))
        self.register_buffer("inverseDeviation", torch.ones(features))

    def forward(self, x):
        return (x - self.mean) * self.inverseDeviation


class SpectralNetwork(nn.Module):
    def __init__(self, window, channels, classes, width, layers, heads, feedForward, hop, temperature):
        super().__init__()
        self.hop, self.temperature = hop, temperature
        taper = torch.hann_window(FRAME)
        self.register_buffer("taper", taper / taper.square().sum().sqrt(), persistent=False)
        features = {"frames": channels * FRAME // 2, "statistics": channels * 3}
        self.standardize = nn.ModuleDict({kind: Standardize(count) for kind, count in features.items()})
        self.embed = nn.ModuleDict({kind: nn.Linear(count, width) for kind, count in features.items()})
        self.classToken = nn.Parameter(torch.zeros(width))
        self.positions = nn.Parameter(torch.zeros(3 + (window - FRAME) // hop, width))
        self.layers = nn.Sequential(*(Layer(width, heads, feedForward) for _ in range(layers)))
        self.norm = nn.LayerNorm(width)
        self.head = nn.Linear(2 * width, classes)

    def forward(self, window, scale):
        # window: [N, samples, C] int16, scale: [N, C] -> [N, classes]
        x = window.float().transpose(1, 2)
        x = x - x.mean(-1, keepdim=True)
        deviation = (x.square().mean(-1, keepdim=True) + 1e-12).sqrt()
        x = x / deviation
        # [N, C, frames, bins] -> [N, frames, C * bins]
        spectra = torch.view_as_real(torch.fft.rfft(x.unfold(-1, FRAME, self.hop) * self.taper)[..., : FRAME // 2])
        frames = (spectra.square().sum(-1) + FLOOR).log().transpose(1, 2).flatten(2)
        square = x.square()
        rms = deviation[..., 0] * scale + 1e-6
        statistics = torch.stack([rms, square.square().mean(-1) + FLOOR, square.amax(-1) + FLOOR], -1).log().flatten(1)
        features = {"frames": frames, "statistics": statistics[:, None]}
        tokens = [self.embed[kind](self.standardize[kind](part)) for kind, part in features.items()]
        x = torch.cat([self.classToken.expand(window.shape[0], 1, -1), *tokens], 1) + self.positions
        x = self.norm(self.layers(x))
        logits = self.head(torch.cat([x[:, 0], x[:, 1:].mean(1)], 1))
        return torch.softmax(logits / self.temperature, -1)
