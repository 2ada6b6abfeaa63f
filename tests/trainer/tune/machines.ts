import { mkdir, mkdtemp, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { DEFAULT_SCHEME } from '../../../models/adapters/scheme.ts';
import { type Bundle, readBundle } from '../../../models/bundle/bundle.ts';
import { type Engine, floatTensor } from '../../../models/engine/engine.ts';
import { createOnnxruntimeEngine } from '../../../models/engine/onnxruntime-engine.ts';
import { createNetwork, type NetworkOptions } from '../../../models/networks/index.ts';
import { Random } from '../../../models/networks/random.ts';
import { encodeOnnx } from '../../../models/trace/onnx.ts';
import { traceFrontEnd } from '../../../models/training/trace-inference.ts';
import { type NetworkWeights, traceTrainingStep } from '../../../models/training/trace-training.ts';
import { adapt, DEFAULT_ADAPTATION } from '../../../runtime/adapt/adaptation.ts';
import { heldRecording, type Recording } from '../../../trainer/data/recording-set.ts';
import { cutWindows } from '../../../trainer/data/windows.ts';
import { argmaxRows, metricsOf } from '../../../trainer/evaluate/metrics.ts';
import { ADAPT_BATCH } from '../../../trainer/release/bundle-parts.ts';
import { remeasure, restandardize } from '../../../trainer/tune/standardize.ts';
import type { CutRecordings } from '../../../trainer/tune/target.ts';
import { makeBundle } from '../../support/make-bundle.ts';

export const CLASSES = ['normal', 'hum', 'knock', 'rub'];
export const RECIPE = { sampleRateHz: 1000, window: 512, stride: 256, channels: ['x'] };

/** Fixed here, so that no later change of the product's own networks changes what these tests see. */
const SMALL: NetworkOptions = {
  kind: 'attention',
  window: 512,
  channels: 1,
  classes: CLASSES.length,
  width: 16,
  layers: 1,
  heads: 8,
  headDepth: 2,
  feedForward: 32,
  tokens: ['frames', 'spectrum', 'envelope', 'statistics'],
  patch: 16,
  hop: 32,
};

/** A machine in four conditions. `shift` moves its tones, and lets it ring: another machine of the kind. */
export function machine(shift: number, seconds = 8, seed = 3, label: (kind: string) => string = (kind) => kind): Recording[] {
  const random = new Random(seed);
  return CLASSES.map((kind, index) => {
    const length = seconds * 1000;
    const samples = new Float32Array(length);
    let [last, before] = [0, 0];
    for (let t = 0; t < length; t++) {
      let value = 0.3 * random.normal() + 0.5 * Math.sin(2 * Math.PI * (25 + 6 * shift) * (t / 1000));
      if (index === 1) value += 0.7 * Math.sin(2 * Math.PI * (100 + 22 * shift) * (t / 1000));
      if (index === 2 && t % Math.round(125 - 20 * shift) < 4) value += 2.5;
      if (index === 3) value += 0.6 * random.normal() * (1 + Math.sin(2 * Math.PI * (12 + 3 * shift) * (t / 1000)));
      // A resonance that the first machine does not have.
      const ringing = value + 0.75 * shift * (1.2 * last - 0.7 * before);
      [last, before] = [ringing, last];
      samples[t] = ringing;
    }
    const name = label(kind);
    const entry = {
      file: `${kind}-${shift}.bin`,
      label: name,
      n_samples: length,
      n_channels: 1,
      channels: ['x'],
      dtype: 'float32' as const,
      sample_rate_hz: 1000,
    };
    return heldRecording({ entry, label: name, channels: ['x'], sampleRateHz: 1000 }, samples);
  });
}

export function cut(recordings: readonly Recording[]): CutRecordings {
  return { recordings, windows: cutWindows(recordings, CLASSES, RECIPE.window, RECIPE.stride) };
}

/** Every parameter trained from scratch on features, for as long as four easy classes take. */
async function trainSmall(engine: Engine, options: NetworkOptions, recordings: readonly Recording[]): Promise<NetworkWeights> {
  const network = createNetwork(options);
  const { windows } = cut(recordings);
  const neutral = network.statistics.initialize(new Random(0));
  const frontEnd = await engine.load({ graph: encodeOnnx(traceFrontEnd(network, 'float32', neutral)) });
  const { features } = await frontEnd.run({
    window: floatTensor(windows.samples, [windows.count, RECIPE.window, 1]),
    scale: floatTensor(new Float32Array(windows.count).fill(1), [windows.count, 1]),
  });
  const raw = features.values as Float32Array;
  const statistics = remeasure(network, raw, neutral);
  const examples = { features: restandardize(network, raw, neutral, statistics), labels: windows.labels };
  const parameters = network.parameters.initialize(new Random(1));
  const options72 = { batch: ADAPT_BATCH, input: 'features', dropout: false, featureMask: false, distillation: false } as const;
  const step = await engine.load({ graph: encodeOnnx(traceTrainingStep(network, options72, { parameters, statistics })) });
  const none = { features: new Float32Array(0), labels: new Int32Array(0) };
  return {
    parameters: await adapt(step, parameters, examples, none, { ...DEFAULT_ADAPTATION, steps: 60, learningRate: 3e-3 }),
    statistics,
  };
}

/** A small network trained on the machine without shift, as a whole bundle in a folder of its own. */
export async function trainedBundle(options?: NetworkOptions): Promise<{ folder: string; bundle: Bundle }> {
  const folder = join(await mkdtemp(join(tmpdir(), 'tremolo-tune-test-')), 'bundle');
  const engine = await createOnnxruntimeEngine();
  const train = machine(0);
  const own = options ?? SMALL;
  const weights = await trainSmall(engine, own, train);
  const { windows } = cut(train);
  await makeBundle(
    folder,
    engine,
    {
      name: 'first machine',
      classes: CLASSES,
      recipe: RECIPE,
      primary: { options: own, weights },
      adapter: DEFAULT_SCHEME,
      temperature: 1,
      lineage: { set: 'machines', split: 'none', seed: 1 },
      version: '0.0.0',
    },
    train,
    async (probabilities) => metricsOf(windows.labels, argmaxRows(await probabilities(windows), CLASSES.length), CLASSES.length),
  );
  return { folder, bundle: await readBundle(folder, ['core', 'adapt', 'server']) };
}

/** Recordings as a set on disk, for the command. */
export async function writeSet(recordings: readonly Recording[]): Promise<string> {
  const folder = await mkdtemp(join(tmpdir(), 'tremolo-tune-set-'));
  await mkdir(folder, { recursive: true });
  for (const { entry, read, length } of recordings) await writeFile(join(folder, entry.file), new Uint8Array(read(0, length).buffer));
  await writeFile(join(folder, 'dataset.json'), JSON.stringify({ name: 'machines', recordings: recordings.map(({ entry }) => entry) }));
  return folder;
}
