import { describe, expect, it } from 'vitest';
import { floatTensor } from '../../../models/engine/engine.ts';
import { featureParts, type TokenKind } from '../../../models/networks/front-end.ts';
import { LINEAR, linearNetwork } from '../../../models/networks/linear-network.ts';
import { encodeOnnx } from '../../../models/trace/onnx.ts';
import { traceFrontEnd } from '../../../models/training/trace-inference.ts';
import { ENGINES } from '../../support/engines.ts';
import { largestError, numbers } from '../../support/numbers.ts';

const KINDS: readonly TokenKind[] = ['tapered', 'bands', 'demodulation', 'shape'];
const CHANNELS = 2;

/** A machine: a tone that swells, a few impacts, and noise. samples: [window, 2] */
function machine(window: number, seed: number): Float32Array {
  const noise = numbers(window * CHANNELS, seed);
  return noise.map((value, at) => {
    const t = Math.floor(at / CHANNELS);
    const impact = (t + 7 * seed) % 41 === 0 ? 4 : 0;
    return 3 + (1 + 0.6 * Math.sin(0.11 * t + seed)) * Math.sin((0.9 + (at % CHANNELS)) * t) + impact + 0.2 * value;
  });
}

const mean = (values: readonly number[]) => values.reduce((sum, value) => sum + value, 0) / values.length;

/** |sum x[t] taper[t] exp(-2 pi i f t)|^2 */
function power(x: readonly number[], frequency: number): number {
  let [re, im] = [0, 0];
  x.forEach((value, t) => {
    re += value * Math.cos(2 * Math.PI * frequency * t);
    im += value * Math.sin(2 * Math.PI * frequency * t);
  });
  return re * re + im * im;
}

const tapered = (x: readonly number[]) => x.map((value, t) => value * (0.5 - 0.5 * Math.cos((2 * Math.PI * t) / x.length)));

/** What the graph's tokens are, from their definitions. x: one channel's window */
const DEFINITIONS: Record<string, (x: readonly number[]) => number[]> = {
  tapered: (x) => spectrum(x).map((value) => Math.log(value + 1e-5)),
  bands: (x) => {
    const bins = spectrum(x);
    const width = bins.length / 32;
    return Array.from({ length: 32 }, (_, band) => Math.log(mean(bins.slice(band * width, (band + 1) * width)) + 1e-3));
  },
  demodulation: (x) =>
    [1.5, 3.5, 5.5, 7.5].flatMap((centre) => {
      const count = x.length / 4 - 3;
      const magnitude = Array.from({ length: count }, (_, step) =>
        Math.sqrt(power(tapered(x.slice(4 * step, 4 * step + 16)), centre / 16)),
      );
      const series = standardized(magnitude);
      return Array.from({ length: Math.min(32, x.length / 8) }, (_, bin) =>
        Math.log(power(tapered(series), ((bin + 1) * 4) / x.length) / (0.375 * count) + 1),
      );
    }),
  shape: (x) => [
    mean(x.map((value) => value ** 3)),
    Math.log(mean(x.map((value) => value ** 4))),
    Math.log(Math.max(...x.map(Math.abs))),
    -Math.log(mean(x.map(Math.abs))),
  ],
};

function standardized(x: readonly number[]): number[] {
  const centre = mean(x);
  const deviation = Math.sqrt(mean(x.map((value) => (value - centre) ** 2)));
  return x.map((value) => (value - centre) / deviation);
}

function spectrum(x: readonly number[]): number[] {
  return Array.from({ length: x.length / 2 }, (_, bin) => power(tapered(x), bin / x.length) / (0.375 * x.length));
}

const networkOf = (window: number, kind: TokenKind) => linearNetwork({ ...LINEAR, window, channels: CHANNELS, classes: 2, tokens: [kind] });

async function sessionOf(window: number, kind: TokenKind, engine: keyof typeof ENGINES) {
  const graph = traceFrontEnd(networkOf(window, kind), 'float32');
  return (await ENGINES[engine]()).load({ graph: encodeOnnx(graph) });
}

const feedsOf = (windows: readonly Float32Array[]) => ({
  window: floatTensor(Float32Array.from(windows.flatMap((one) => [...one])), [windows.length, windows[0].length / CHANNELS, CHANNELS]),
  scale: floatTensor(new Float32Array(windows.length * CHANNELS).fill(1), [windows.length, CHANNELS]),
});

describe.each(KINDS)('tokens of kind %s', (kind) => {
  it.each([128, 512, 2048])('are what their definition says, in windows of %i samples', async (window) => {
    const windows = [machine(window, 1), machine(window, 2)];
    const session = await sessionOf(window, kind, 'onnxruntime');
    const features = (await session.run(feedsOf(windows))).features.values as Float32Array;
    await session.release();
    const expected = windows.flatMap((samples) =>
      Array.from({ length: CHANNELS }, (_, channel) =>
        DEFINITIONS[kind](standardized([...samples].filter((__, at) => at % CHANNELS === channel))),
      ).flat(),
    );
    const [{ tokens, width }] = featureParts(networkOf(window, kind).frontEnd);
    expect([tokens, tokens * width * windows.length]).toEqual([1, expected.length]);
    expect(largestError(features, expected)).toBeLessThan(2e-4);
  });

  it('do not depend on the batch or the place in it, to the last bit', async () => {
    const windows = Array.from({ length: 21 }, (_, seed) => machine(512, seed + 1));
    for (const name of ['onnxruntime', 'wasm'] as const) {
      const session = await sessionOf(512, kind, name);
      const run = async (rows: readonly Float32Array[]) => (await session.run(feedsOf(rows))).features.values as Float32Array;
      const all = await run(windows);
      const width = all.length / windows.length;
      for (const size of [1, 2, 3, 5]) {
        for (let from = 0; from + size <= windows.length; from += size) {
          const part = await run(windows.slice(from, from + size));
          expect([...part], `${name}, ${size} from ${from}`).toEqual([...all.subarray(from * width, (from + size) * width)]);
        }
      }
      await session.release();
    }
  });

  it('of a flat channel are finite', async () => {
    const session = await sessionOf(512, kind, 'onnxruntime');
    const { features } = await session.run(feedsOf([new Float32Array(512 * CHANNELS).fill(2)]));
    await session.release();
    expect((features.values as Float32Array).every(Number.isFinite)).toBe(true);
  });
});
