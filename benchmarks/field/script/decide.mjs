// A plain script, as somebody writes it who knows MQTT and onnxruntime: one buffer a stream, windows gathered into batches, one thread.
import { createRequire } from 'node:module';

const require = createRequire(process.env.FIELD_REQUIRE);
const mqtt = require('mqtt');
const ort = require('onnxruntime-node');

const { BROKER, MODEL, CLASSES, ADAPTER_NUMBERS, SAMPLES, DIAGNOSIS } = process.env;
const [WINDOW, STRIDE, CHANNELS, LARGEST] = [512, 256, 3, 64];
const classes = JSON.parse(CLASSES);
const session = await ort.InferenceSession.create(MODEL, { intraOpNumThreads: 1, interOpNumThreads: 1 });
const bank = new ort.Tensor('float32', new Float32Array(Number(ADAPTER_NUMBERS)), [1, Number(ADAPTER_NUMBERS)]);
const streams = new Map();
let waiting = [];
let running = false;

const client = mqtt.connect(BROKER);
client.on('connect', () => client.subscribe(`${SAMPLES}+`));
client.on('message', (topic, frame) => {
  if (frame[1] !== 1 || frame[3] !== CHANNELS) return;
  const name = topic.slice(SAMPLES.length);
  let stream = streams.get(name);
  if (!stream) {
    stream = { name, samples: new Int16Array(WINDOW * CHANNELS), next: WINDOW, scale: new Float32Array(CHANNELS) };
    streams.set(name, stream);
  }
  const count = frame.readUInt16LE(24);
  for (let channel = 0; channel < CHANNELS; channel++) stream.scale[channel] = frame.readFloatLE(26 + 4 * channel);
  stream.samples.copyWithin(0, count * CHANNELS);
  new Uint8Array(stream.samples.buffer).set(
    frame.subarray(26 + 4 * CHANNELS, 26 + 4 * CHANNELS + 2 * count * CHANNELS),
    2 * (WINDOW - count) * CHANNELS,
  );
  if (frame.readUInt32LE(8) + count < stream.next) return;
  waiting.push({ name, end: stream.next, samples: stream.samples.slice(), scale: stream.scale.slice() });
  stream.next += STRIDE;
  if (!running) decide();
});

async function decide() {
  running = true;
  // What comes within two milliseconds shares a run.
  await new Promise((resolve) => setTimeout(resolve, 2));
  while (waiting.length > 0) {
    const batch = waiting.slice(0, LARGEST);
    waiting = waiting.slice(LARGEST);
    const windows = new Int16Array(batch.length * WINDOW * CHANNELS);
    const scales = new Float32Array(batch.length * CHANNELS);
    batch.forEach(({ samples, scale }, row) => {
      windows.set(samples, row * WINDOW * CHANNELS);
      scales.set(scale, row * CHANNELS);
    });
    const { probabilities } = await session.run({
      window: new ort.Tensor('int16', windows, [batch.length, WINDOW, CHANNELS]),
      scale: new ort.Tensor('float32', scales, [batch.length, CHANNELS]),
      adapterBank: bank,
      adapterIndex: new ort.Tensor('int32', new Int32Array(batch.length), [batch.length]),
    });
    batch.forEach(({ name, end }, row) => {
      const own = Array.from(probabilities.data.subarray(row * classes.length, (row + 1) * classes.length));
      const best = own.indexOf(Math.max(...own));
      client.publish(
        `${DIAGNOSIS}${name}`,
        JSON.stringify({ stream: name, endSequence: end, decision: classes[best], confidence: own[best], probabilities: own }),
        { retain: true },
      );
    });
  }
  running = false;
}
