"""Windows of every stream as they come over MQTT, gathered into batches; a diagnosis for each. One array a stream."""

import json
import os
import queue
import struct
import time

import numpy
import paho.mqtt.client

WINDOW, STRIDE, CHANNELS, LARGEST = 512, 256, 3, 64
SAMPLES, DIAGNOSIS = os.environ["SAMPLES"], os.environ["DIAGNOSIS"]
classes = json.loads(os.environ["CLASSES"])
streams = {}
waiting = queue.SimpleQueue()


class Stream:
    def __init__(self, first):
        self.samples = numpy.zeros((2 * WINDOW, CHANNELS), numpy.int16)
        self.filled = 0
        self.next = first + WINDOW


def on_message(client, userdata, message):
    frame = message.payload
    if frame[1] != 1 or frame[3] != CHANNELS:
        return
    name = message.topic[len(SAMPLES) :]
    (sequence,) = struct.unpack_from("<I", frame, 8)
    stream = streams.get(name)
    if stream is None:
        stream = streams[name] = Stream(sequence)
    (count,) = struct.unpack_from("<H", frame, 24)
    samples = numpy.frombuffer(frame, numpy.int16, count * CHANNELS, 26 + 4 * CHANNELS).reshape(count, CHANNELS)
    if stream.filled + count > 2 * WINDOW:
        stream.samples[: WINDOW - count] = stream.samples[stream.filled - (WINDOW - count) : stream.filled]
        stream.filled = WINDOW - count
    stream.samples[stream.filled : stream.filled + count] = samples
    stream.filled += count
    if sequence + count >= stream.next:
        scale = numpy.frombuffer(frame, numpy.float32, CHANNELS, 26)
        waiting.put((name, stream.next, stream.samples[stream.filled - WINDOW : stream.filled].copy(), scale))
        stream.next += STRIDE


# field:begin
import threading

field = {"thread": os.getpid(), "main": True, "writtenMs": 0, "runs": 0, "windows": 0, "sampledWindows": 0, "sampledCpuMs": 0.0}


def report():
    path = os.path.join(os.environ["TREMOLO_PROBE"], f"{os.getpid()}.json")
    while True:
        field["writtenMs"] = int(time.time() * 1000)
        with open(path, "w") as file:
            file.write(json.dumps(field))
        time.sleep(0.5)


threading.Thread(target=report, daemon=True).start()
# field:end
def decide_windows(run):
    """run: samples [count, WINDOW, CHANNELS] int16 and scales [count, CHANNELS] -> probabilities [count, classes]"""
    client = paho.mqtt.client.Client(paho.mqtt.client.CallbackAPIVersion.VERSION2)
    client.on_message = on_message
    client.on_connect = lambda client, *_: client.subscribe(SAMPLES + "+")
    host, port = os.environ["BROKER"].removeprefix("mqtt://").split(":")
    client.connect(host, int(port))
    client.loop_start()
    while True:
        batch = [waiting.get()]
        # What comes within two milliseconds shares a run.
        time.sleep(0.002)
        while len(batch) < LARGEST and not waiting.empty():
            batch.append(waiting.get())
        windows = numpy.stack([samples for _, _, samples, _ in batch])
        scales = numpy.stack([scale for _, _, _, scale in batch])
        began = time.thread_time()  # field
        probabilities = run(windows, scales)
        field["sampledCpuMs"] += 1000 * (time.thread_time() - began)  # field
        field["runs"] += 1  # field
        field["windows"] += len(batch)  # field
        field["sampledWindows"] += len(batch)  # field
        for (name, end, _, _), own in zip(batch, probabilities):
            best = int(own.argmax())
            diagnosis = {"stream": name, "endSequence": end, "decision": classes[best], "confidence": float(own[best]), "probabilities": own.tolist()}
            client.publish(DIAGNOSIS + name, json.dumps(diagnosis), retain=True)
