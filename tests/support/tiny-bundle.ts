import { mkdtemp } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { DEFAULT_SCHEME } from '../../models/adapters/scheme.ts';
import type { Bundle } from '../../models/bundle/bundle.ts';
import { createOnnxruntimeEngine } from '../../models/engine/onnxruntime-engine.ts';
import { STUDENT } from '../../models/networks/attention-network.ts';
import { createNetwork } from '../../models/networks/index.ts';
import { BACKUP } from '../../models/networks/mixer-network.ts';
import { Random } from '../../models/networks/random.ts';
import type { Recording } from '../../trainer/data/recording-set.ts';
import { cutWindows } from '../../trainer/data/windows.ts';
import { argmaxRows, metricsOf } from '../../trainer/evaluate/metrics.ts';
import { measureStatistics } from '../../trainer/train/run-windows.ts';
import { makeBundle } from './make-bundle.ts';

export const TINY_CLASSES = ['normal', 'hum', 'knock'];

/** Three kinds of sound that anything can tell apart, two channels at 1 kHz. */
export function tinyRecordings(seconds = 4, seed = 5): Recording[] {
  const random = new Random(seed);
  return TINY_CLASSES.flatMap((label, kind) =>
    [0, 1].map((index) => {
      const length = seconds * 1000;
      const samples = new Float32Array(2 * length);
      for (let t = 0; t < length; t++) {
        const tone = kind === 1 ? Math.sin(2 * Math.PI * (50 + index) * (t / 1000)) : 0;
        const knock = kind === 2 && t % 100 < 4 ? 3 : 0;
        for (const channel of [0, 1]) samples[2 * t + channel] = tone + knock + 0.2 * random.normal();
      }
      const entry = { file: `${label}${index}`, label, n_samples: length, n_channels: 2, dtype: 'float32' as const, sample_rate_hz: 1000 };
      return { entry, label, channels: ['x', 'y'], sampleRateHz: 1000, samples, length };
    }),
  );
}

/** A whole bundle in a folder of its own: real graphs with untrained weights. @param seed of the weights */
export async function makeTinyBundle(seed = 2): Promise<{ folder: string; bundle: Bundle }> {
  const folder = join(await mkdtemp(join(tmpdir(), 'tremolo-bundle-')), 'bundle');
  const engine = await createOnnxruntimeEngine();
  const recordings = tinyRecordings();
  const shape = { channels: 2, classes: TINY_CLASSES.length };
  const windows = cutWindows(recordings, TINY_CLASSES, 512, 256);
  const untrained = async (options: Parameters<typeof createNetwork>[0]) => {
    const network = createNetwork(options);
    const statistics = await measureStatistics(engine, network, windows);
    return { options, weights: { parameters: network.parameters.initialize(new Random(seed)), statistics } };
  };
  const bundle = await makeBundle(
    folder,
    engine,
    {
      name: 'tiny',
      classes: TINY_CLASSES,
      recipe: { sampleRateHz: 1000, window: 512, stride: 256, channels: ['x', 'y'] },
      primary: await untrained({ ...STUDENT, ...shape, width: 16, feedForward: 32, layers: 1 }),
      backup: await untrained({ ...BACKUP, ...shape, width: 8, layers: 1 }),
      adapter: DEFAULT_SCHEME,
      temperature: 1,
      lineage: { set: 'tiny', split: 'none', seed: 2 },
      version: '0.0.0',
    },
    recordings,
    async (probabilities) => metricsOf(windows.labels, argmaxRows(await probabilities(windows), TINY_CLASSES.length), TINY_CLASSES.length),
  );
  return { folder, bundle };
}
