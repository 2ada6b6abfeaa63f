import { readFileSync } from 'node:fs';
import { afterEach, describe, expect, it, vi } from 'vitest';
import { encodeSerialFrame, FrameReader, type SampleFrame, SequenceTracker } from '../../firmware-bridge/codec/index.ts';
import { openPty, openSerial } from '../../firmware-bridge/serial/index.ts';
import { seededRandom } from './vectors/arbitrary.ts';

const CHANNELS = 3;
const RATE_HZ = 1_000;
/** 115,200 baud with start and stop bit. */
const LINE_BYTES_PER_S = 11_520;
const BYTES_PER_DAMAGE = 10_000;

const WINDOW = 512;
const STRIDE = 256;

/** The value of a sample is known from its place, so that a wrong one cannot pass. */
const valueAt = (index: number): number => (Math.imul(index, 2_654_435_761) >> 16) | 0;

function frameAt(sequence: number, samplesPerChannel: number): SampleFrame {
  return {
    kind: 'samples',
    streamId: 1,
    epoch: 1,
    sequence,
    deviceTimeUs: sequence * (1e6 / RATE_HZ),
    sampleRateHz: RATE_HZ,
    shaftSpeedRpm: undefined,
    channelCount: CHANNELS,
    samplesPerChannel,
    scales: new Float32Array(CHANNELS).fill(0.25),
    samples: Int16Array.from({ length: CHANNELS * samplesPerChannel }, (_, i) => valueAt(sequence * CHANNELS + i)),
  };
}

/** A gateway's end of the line: which frames came, whether a sample was wrong, and how many windows lie in unbroken runs. */
class Listener {
  readonly tracker = new SequenceTracker();
  readonly sequences = new Set<number>();
  wrong = 0;
  windows = 0;
  #run = 0;
  readonly reader = new FrameReader((frame) => {
    if (frame.kind !== 'samples') this.wrong++;
    else this.#take(frame);
  });

  #take(frame: SampleFrame): void {
    const { sequence, samplesPerChannel, samples } = frame;
    if (frame.deviceTimeUs !== sequence * (1e6 / RATE_HZ) || frame.channelCount !== CHANNELS) this.wrong++;
    for (let i = 0; i < samplesPerChannel * CHANNELS; i++) if (samples[i] !== valueAt(sequence * CHANNELS + i)) this.wrong++;
    if (this.tracker.accept(frame) === 'gap') this.#run = 0;
    this.sequences.add(sequence);
    const before = this.#run < WINDOW ? 0 : Math.floor((this.#run - WINDOW) / STRIDE) + 1;
    this.#run += samplesPerChannel;
    this.windows += this.#run < WINDOW ? 0 : Math.floor((this.#run - WINDOW) / STRIDE) + 1 - before;
  }
}

const join = (parts: readonly Uint8Array[]) => new Uint8Array(Buffer.concat(parts));

/** Flips bits of one byte in each BYTES_PER_DAMAGE. Gives the places. */
function damage(bytes: Uint8Array, random: () => number): number[] {
  const places: number[] = [];
  for (let from = 0; from + BYTES_PER_DAMAGE <= bytes.length; from += BYTES_PER_DAMAGE) {
    const at = from + Math.floor(random() * BYTES_PER_DAMAGE);
    bytes[at] ^= 1 + Math.floor(random() * 255);
    places.push(at);
  }
  return places;
}

/** Frames that a damaged byte may cost: the one that it lies in, and the next where it was the delimiter. */
function endangered(places: readonly number[], frames: readonly Uint8Array[]): Set<number> {
  const hit = new Set<number>();
  let frame = 0;
  let end = frames[0].length;
  for (const at of places) {
    while (at >= end) end += frames[++frame].length;
    hit.add(frame);
    if (at === end - 1) hit.add(frame + 1);
  }
  return hit;
}

const possibleWindows = (samples: number) => Math.floor((samples - WINDOW) / STRIDE) + 1;

describe('twenty minutes of a line that damages one byte in 10,000', () => {
  const readme = readFileSync(new URL('../../firmware-bridge/README.md', import.meta.url), 'utf8');
  const stated = [...readme.matchAll(/^\| (\d+) samples \| (\d+) \| (\d+) \| (\d+) \| ([\d.]+) % \|$/gm)].map((row) =>
    row.slice(1).map(Number),
  );

  it.each([32, 64, 128])(
    'with frames of %i samples takes no wrong sample, loses no frame but those hit, and decides what the README states',
    (length) => {
      const samples = 20 * 60 * RATE_HZ;
      const frames = Array.from({ length: Math.floor(samples / length) }, (_, n) => encodeSerialFrame(frameAt(n * length, length)));
      const bytes = join(frames);
      const places = damage(bytes, seededRandom(10));
      const listener = new Listener();
      listener.reader.push(Uint8Array.of(0));
      for (let at = 0; at < bytes.length; at += 997) listener.reader.push(bytes.subarray(at, at + 997));

      expect(listener.wrong).toBe(0);
      const lost = frames.map((_, n) => n).filter((n) => !listener.sequences.has(n * length));
      const hit = endangered(places, frames);
      expect(lost.filter((n) => !hit.has(n))).toEqual([]);
      expect(lost.length).toBeLessThanOrEqual(2 * places.length);
      expect(listener.tracker.received + lost.length * length).toBe(frames.length * length);

      const share = (100 * listener.windows) / possibleWindows(frames.length * length);
      expect(stated).toContainEqual([length, places.length, lost.length, listener.windows, Number(share.toFixed(1))]);
    },
  );
});

describe('a pty paced at 11,520 bytes/s with three channels at 1 kHz', () => {
  const seconds = process.env.TREMOLO_FULL ? 20 : 6;
  const open: { close(): Promise<void> }[] = [];
  afterEach(async () => {
    for (const thing of open.splice(0).reverse()) await thing.close();
  });

  /** Sends each frame when its last sample has been taken, its bytes no faster than the line. */
  async function send(frames: readonly Uint8Array[], periodMs: number, write: (bytes: Uint8Array) => Promise<void>): Promise<void> {
    const startMs = performance.now();
    let lineFreeMs = 0;
    for (const [n, frame] of frames.entries()) {
      lineFreeMs = Math.max(lineFreeMs, (n + 1) * periodMs);
      for (let at = 0; at < frame.length; at += 58) {
        const piece = frame.subarray(at, at + 58);
        lineFreeMs += (piece.length * 1_000) / LINE_BYTES_PER_S;
        const waitMs = startMs + lineFreeMs - performance.now();
        if (waitMs > 0) await new Promise((resolve) => setTimeout(resolve, waitMs));
        await write(piece);
      }
    }
  }

  it.each([
    ['unharmed, loses nothing', false],
    ['with one byte in 10,000 damaged, takes no wrong sample and loses no frame but those hit', true],
  ])('%s', { timeout: 240_000 }, async (_name, noisy) => {
    const length = 64;
    const frames = Array.from({ length: Math.floor((seconds * RATE_HZ) / length) }, (_, n) =>
      encodeSerialFrame(frameAt(n * length, length)),
    );
    const bytes = join(frames);
    const places = noisy ? damage(bytes, seededRandom(11)) : [];
    let from = 0;
    const sent = frames.map(({ length: size }) => {
      from += size;
      return bytes.subarray(from - size, from);
    });

    const line = await openPty();
    open.push(line);
    const listener = new Listener();
    const port = openSerial(
      { path: line.path, baudRate: 115_200 },
      (chunk) => listener.reader.push(chunk),
      () => {},
    );
    open.push(port);
    await vi.waitFor(() => expect(port.state).toBe('open'), { timeout: 10_000 });
    await line.write(Uint8Array.of(0));
    await send(sent, (1_000 * length) / RATE_HZ, (piece) => line.write(piece));
    await vi.waitFor(() => expect(listener.reader.health.bytes).toBe(bytes.length + 1), { timeout: 30_000 });

    expect(listener.wrong).toBe(0);
    const hit = noisy ? endangered(places, frames) : new Set();
    const lost = frames.map((_, n) => n).filter((n) => !listener.sequences.has(n * length));
    expect(lost.filter((n) => !hit.has(n))).toEqual([]);
    expect(lost.length).toBeLessThanOrEqual(2 * places.length);
    if (noisy) expect(places.length).toBeGreaterThan(2);
    else expect(listener.windows).toBe(possibleWindows(frames.length * length));
  });
});
