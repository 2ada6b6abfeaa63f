"""The raw-patch network and its training step in PyTorch, as a peer of the traced step.

Started by the harness with one argument, a JSON file: the network's options, where every parameter lies in `weights` (a file of
float32), the files of one batch, and the number of threads. Prints one JSON line when ready, then answers each line of standard input
with one:

    step N    N whole training steps (forward, backward, clip, AdamW)   {"wallMs", "cpuMs", "loss" of the last}
    loss      the loss of the weights as they are                       {"loss"}

Ends when standard input does. Times are taken here, so that the pipe costs nothing.
"""

import json
import os
import sys
import time

with open(sys.argv[1], encoding="utf-8") as file:
    SPEC = json.load(file)
for name in ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS"):
    os.environ[name] = str(SPEC["threads"])

import torch  # noqa: E402  the number of threads must stand in the environment first
from encoder import Layer  # noqa: E402
from torch import nn  # noqa: E402

torch.set_num_threads(SPEC["threads"])


class RawPatchNetwork(nn.Module):
    """Each channel z-scored within its window, patches of all channels side by side, pre-LN encoder, [class token, mean] to logits."""

    def __init__(self, window, channels, classes, width, layers, heads, patch, feed_forward):
        super().__init__()
        self.patch = patch
        tokens = window // patch
        self.register_buffer("mean", torch.zeros(patch * channels))
        self.register_buffer("inverse_deviation", torch.ones(patch * channels))
        self.embed = nn.Linear(patch * channels, width)
        self.class_token = nn.Parameter(torch.zeros(width))
        self.positions = nn.Parameter(torch.zeros(1 + tokens, width))
        self.layers = nn.ModuleList(Layer(width, heads, feed_forward) for _ in range(layers))
        self.norm = nn.LayerNorm(width)
        self.head = nn.Linear(2 * width, classes)

    def forward(self, window):
        # window: [N, samples, C]
        batch, samples, channels = window.shape
        x = window.transpose(1, 2)
        x = x - x.mean(-1, keepdim=True)
        x = x / torch.sqrt((x * x).mean(-1, keepdim=True) + 1e-12)
        # [N, C, T, patch] -> [N, T, C * patch]
        x = x.reshape(batch, channels, samples // self.patch, self.patch).transpose(1, 2).reshape(batch, -1, channels * self.patch)
        x = self.embed((x - self.mean) * self.inverse_deviation)
        x = torch.cat([self.class_token.expand(batch, 1, -1), x], 1) + self.positions
        for layer in self.layers:
            x = layer(x)
        x = self.norm(x)
        return self.head(torch.cat([x[:, 0], x[:, 1:].mean(1)], 1))


def parameter_of(network, name):
    """The tensor that holds our parameter `name`, and whether it lies there transposed."""
    fixed = {
        "patches.mean": network.mean,
        "patches.inverseDeviation": network.inverse_deviation,
        "classToken": network.class_token,
        "positions": network.positions,
        "norm.scale": network.norm.weight,
        "norm.bias": network.norm.bias,
    }
    if name in fixed:
        return fixed[name], False
    *path, kind = name.split(".")
    if path[0] == "embed":
        module = network.embed
    elif path[0] == "head":
        module = network.head
    else:
        layer = network.layers[int(path[0].removeprefix("layer"))]
        where = ".".join(path[1:])
        module = {
            "attention.norm": layer.attention_norm,
            "attention.q": layer.attention.q,
            "attention.k": layer.attention.k,
            "attention.v": layer.attention.v,
            "attention.o": layer.attention.o,
            "ffn.norm": layer.ffn_norm,
            "ffn.in": layer.ffn_in,
            "ffn.out": layer.ffn_out,
        }[where]
    return (module.bias, False) if kind == "bias" else (module.weight, kind == "weight")


def read_floats(path, shape):
    with open(path, "rb") as file:
        return torch.frombuffer(bytearray(file.read()), dtype=torch.float32).reshape(shape).clone()


def copy_weights(network, group):
    flat = read_floats(group["file"], [-1])
    with torch.no_grad():
        for entry in group["layout"]:
            target, transposed = parameter_of(network, entry["name"])
            size = 1
            for length in entry["shape"]:
                size *= length
            values = flat[entry["offset"] : entry["offset"] + size].reshape(entry["shape"])
            target.copy_(values.t() if transposed else values)


def blas():
    """Which library multiplies matrices: it decides the speed more than PyTorch does."""
    if torch.backends.mkl.is_available():
        return "MKL"
    with open("/proc/self/maps", encoding="utf-8") as maps:
        names = {line.split("/")[-1].strip() for line in maps if "blas" in line.lower()}
    return "OpenBLAS" if any("openblas" in name.lower() for name in names) else ", ".join(sorted(names)) or "unknown"


def main():
    options = SPEC["network"]
    network = RawPatchNetwork(
        *(options[name] for name in ("window", "channels", "classes", "width", "layers", "heads", "patch")), options["feedForward"]
    )
    for group in SPEC["weights"]:
        copy_weights(network, group)
    window = read_floats(SPEC["window"], [-1, options["window"], options["channels"]])
    label = read_floats(SPEC["target"], [-1, options["classes"]]).argmax(1)
    matrices = [p for p in network.parameters() if p.ndim > 1]
    vectors = [p for p in network.parameters() if p.ndim <= 1]
    rate = SPEC["rate"]
    groups = [{"params": matrices, "weight_decay": rate["weightDecay"]}, {"params": vectors, "weight_decay": 0.0}]
    optimizer = torch.optim.AdamW(groups, lr=rate["learningRate"], betas=(rate["beta1"], rate["beta2"]), eps=rate["epsilon"])
    criterion = nn.CrossEntropyLoss(label_smoothing=SPEC["labelSmoothing"])
    parameters = list(network.parameters())

    def step():
        optimizer.zero_grad(set_to_none=True)
        loss = criterion(network(window), label)
        loss.backward()
        nn.utils.clip_grad_norm_(parameters, rate["clipNorm"])
        optimizer.step()
        return loss.item()

    def answer(value):
        print(json.dumps(value), flush=True)

    answer({"torch": torch.__version__, "blas": blas(), "threads": torch.get_num_threads(), "parameters": sum(p.numel() for p in parameters)})
    for line in sys.stdin:
        command, *arguments = line.split()
        if command == "loss":
            with torch.no_grad():
                answer({"loss": criterion(network(window), label).item()})
        elif command == "step":
            wall, cpu = time.perf_counter(), time.process_time()
            for _ in range(int(arguments[0])):
                loss = step()
            answer({"wallMs": 1000 * (time.perf_counter() - wall), "cpuMs": 1000 * (time.process_time() - cpu), "loss": loss})


main()
