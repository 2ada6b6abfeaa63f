import { adapterLayout } from '../../models/adapters/adapter.ts';
import type { AdapterScheme } from '../../models/adapters/scheme.ts';
import { encodeSafetensors } from '../../models/bundle/schema/safetensors.ts';
import { type Engine, floatTensor, type TensorData } from '../../models/engine/engine.ts';
import type { Network } from '../../models/networks/network.ts';
import type { NetworkWeights, TrainingOptions } from '../../models/training/trace-training.ts';
import type { Windows } from '../data/windows.ts';
import { standardizedFeatures } from '../train/run-windows.ts';
import { inferenceFeeds, ownReferences } from './feeds.ts';

/** Windows of one step of the adaptation graph: 48 of the machine, 24 for replay. */
export const ADAPT_BATCH = 72;
export const CALIBRATION_WINDOWS = 512;
export const KNOWN_ANSWERS = 3;
/** Replay windows of each class. */
export const REPLAY_WINDOWS = 6;
/** Largest difference of a logit between engines: they add floats in other orders, and now and then an activation rounds the other way. */
export const ANSWER_TOLERANCE = 0.05;

/** The training step that a bundle carries: an adapter on features, on the frozen int8 base. */
export function adaptTraining(adapter: AdapterScheme): TrainingOptions {
  return { batch: ADAPT_BATCH, input: 'features', adapter, dropout: false, featureMask: false, distillation: false };
}

/** An adapter as safetensors, with the base that it belongs to. flat: as trained, [P] */
export function encodeAdapter(scheme: AdapterScheme, network: Network, flat: Float32Array, base: string): Uint8Array {
  const { parameters } = adapterLayout(scheme, network);
  const tensors = Object.fromEntries(
    parameters.map(({ name, shape, offset, size }) => [name, floatTensor(flat.subarray(offset, offset + size), shape)]),
  );
  return encodeSafetensors({ tensors, metadata: { base, scheme: JSON.stringify(scheme) } });
}

/** Inputs of the deciding graph with the logits it gives, half of them through the default adapter. */
export async function knownAnswers(
  session: { run(feeds: Record<string, TensorData>): Promise<Record<string, TensorData>> },
  windows: Windows,
  shape: { window: number; channels: number },
  bank: TensorData,
  references?: TensorData,
): Promise<Uint8Array> {
  const count = Math.min(KNOWN_ANSWERS, windows.count);
  const feeds = {
    ...inferenceFeeds(windows, shape, bank, 0, [0, count], references),
    ...(references && ownReferences(windows, count, references)),
  };
  (feeds.adapterIndex.values as Int32Array).forEach((_, row, all) => {
    all[row] = row % 2;
  });
  const { logits } = await session.run(feeds);
  const inputs = Object.entries(feeds).filter(([name]) => name !== 'adapterBank');
  return encodeSafetensors({ tensors: { ...Object.fromEntries(inputs), logits }, metadata: {} });
}

/** Standardised features of known windows with their labels, so that a gateway does not forget while it adapts. */
export async function replayWindows(engine: Engine, network: Network, weights: NetworkWeights, windows: Windows): Promise<Uint8Array> {
  const values = await standardizedFeatures(engine, network, weights.statistics, windows);
  return encodeSafetensors({
    tensors: {
      features: floatTensor(values, [windows.count, values.length / windows.count]),
      labels: { type: 'int32', shape: [windows.count], values: windows.labels },
    },
    metadata: {},
  });
}
