"""Decides windows in Python, as somebody writes it who knows paho, numpy and onnxruntime."""

import os

import numpy
import onnxruntime
from windows import decide_windows

options = onnxruntime.SessionOptions()
options.intra_op_num_threads = 1
options.inter_op_num_threads = 1
session = onnxruntime.InferenceSession(os.environ["MODEL"], options, providers=["CPUExecutionProvider"])
bank = numpy.zeros((1, int(os.environ["ADAPTER_NUMBERS"])), numpy.float32)


def run(windows, scales):
    feeds = {"window": windows, "scale": scales, "adapterBank": bank, "adapterIndex": numpy.zeros(len(windows), numpy.int32)}
    (probabilities,) = session.run(["probabilities"], feeds)
    return probabilities


decide_windows(run)
