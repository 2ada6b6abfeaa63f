// The same script on tfjs's WebAssembly backend. tfjs reads no ONNX file: Tremolo's own engine takes each node back to the tfjs op that it came from.
import { readFile } from 'node:fs/promises';
import { createRequire } from 'node:module';

const require = createRequire(process.env.FIELD_REQUIRE);
const mqtt = require('mqtt');
const { createWasmEngine } = await import(process.env.FIELD_ENGINE);

const { BROKER, MODEL, CLASSES, ADAPTER_NUMBERS, SAMPLES, DIAGNOSIS } = process.env;
const [WINDOW, STRIDE, CHANNELS, LARGEST] = [512, 256, 3, 64];
const classes = JSON.parse(CLASSES);
const engine = await createWasmEngine(process.env.FIELD_WASM);
const weights = await readFile(MODEL.replace(/[^/]*$/, 'weights.bin'));
const session = await engine.load({ graph: await readFile(MODEL), files: new Map([['weights.bin', weights]]) });
const bank = { type: 'float32', shape: [1, Number(ADAPTER_NUMBERS)], values: new Float32Array(Number(ADAPTER_NUMBERS)) };
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
    const feeds = {
      window: { type: 'int16', shape: [batch.length, WINDOW, CHANNELS], values: windows },
      scale: { type: 'float32', shape: [batch.length, CHANNELS], values: scales },
      adapterBank: bank,
      adapterIndex: { type: 'int32', shape: [batch.length], values: new Int32Array(batch.length) },
    };
    const { probabilities } = await globalThis.fieldTimed(batch.length, () => session.run(feeds));
    batch.forEach(({ name, end }, row) => {
      const own = Array.from(probabilities.values.subarray(row * classes.length, (row + 1) * classes.length));
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
