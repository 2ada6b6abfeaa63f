// Windows of every stream as they come over MQTT, gathered into batches; a diagnosis for each. One buffer a stream, one thread.
import { createRequire } from 'node:module';

export const require = createRequire(process.env.FIELD_REQUIRE);
const mqtt = require('mqtt');

const { BROKER, CLASSES, SAMPLES, DIAGNOSIS } = process.env;
const [STRIDE, LARGEST] = [256, 64];
export const [WINDOW, CHANNELS] = [512, 3];
const classes = JSON.parse(CLASSES);

/** @param run the model: of how many windows, their samples [count, WINDOW, CHANNELS] and scales [count, CHANNELS], gives probabilities */
export function decideWindows(run) {
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
      const probabilities = await run(batch.length, windows, scales);
      batch.forEach(({ name, end }, row) => {
        const own = Array.from(probabilities.subarray(row * classes.length, (row + 1) * classes.length));
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
}
