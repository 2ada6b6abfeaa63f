import type { AdapterScheme } from '../../../models/adapters/scheme.ts';
import { encodeOnnx } from '../../../models/trace/onnx.ts';
import { traceTrainingStep } from '../../../models/training/trace-training.ts';
import { adapt, DEFAULT_ADAPTATION } from '../../../runtime/adapt/adaptation.ts';
import { ADAPT_BATCH } from '../../release/bundle-parts.ts';
import type { TuneMethod } from '../method.ts';
import { turn } from '../train-adapter.ts';

/** A tenth of what adapters take: every parameter moves, and a few steps must not wash out what hundreds have learned. */
const LEARNING_RATE = 1e-3;

/** Trains every parameter, with replay. The ceiling of what adapters can reach, at the price of a whole bundle a machine. */
export const full: TuneMethod = {
  name: 'full',
  summary: 'trains every parameter, with replay',
  async tune({ engine, bundle, network, base, settings, signal }, shots, replay) {
    const graph = traceTrainingStep(
      network,
      { batch: ADAPT_BATCH, input: 'features', dropout: false, featureMask: false, distillation: false },
      base,
    );
    const session = await engine.load({ graph: encodeOnnx(graph) });
    try {
      const { steps, seed } = settings;
      const training = { ...DEFAULT_ADAPTATION, learningRate: LEARNING_RATE, steps, seed };
      const parameters = await adapt(session, base.parameters, shots, replay, training, { signal, onStep: turn });
      const weights = { ...base, parameters };
      return {
        network,
        weights,
        scheme: bundle.manifest.adapter as AdapterScheme,
        trainable: parameters.length,
        adapterBytes: parameters.byteLength,
      };
    } finally {
      await session.release();
    }
  },
};
