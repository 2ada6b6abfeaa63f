import { adapterLayout } from '../../models/adapters/adapter.ts';
import type { AdapterScheme } from '../../models/adapters/scheme.ts';
import { bundleModel, FILES, readAdapter } from '../../models/bundle/bundle.ts';
import type { Session } from '../../models/engine/engine.ts';
import { Random } from '../../models/networks/random.ts';
import { quantizableWeights, quantizeWeights } from '../../models/quantize/int8.ts';
import { encodeOnnx } from '../../models/trace/onnx.ts';
import { traceInference } from '../../models/training/trace-inference.ts';
import { traceTrainingStep } from '../../models/training/trace-training.ts';
import { adapt, DEFAULT_ADAPTATION } from '../../runtime/adapt/adaptation.ts';
import type { LabelledFeatures } from '../../runtime/adapt/labelled-features.ts';
import { adaptTraining, encodeAdapter } from '../release/bundle-parts.ts';
import { fitsBank, type TuneContext, type Tuned } from './method.ts';

/** The step that trains adapters of a scheme: the bundle's own, just as a gateway runs it, or one traced anew on the same int8 weights. */
async function stepOf({ engine, bundle, network, base }: TuneContext, scheme: AdapterScheme): Promise<Session> {
  if (fitsBank(bundle, scheme)) return engine.load(bundleModel(bundle, FILES.adapt));
  const float = traceInference(network, { input: 'float32', reference: false, temperature: 1 }, base);
  const graph = traceTrainingStep(network, adaptTraining(scheme), base);
  return engine.load({ graph: encodeOnnx(quantizeWeights(graph, quantizableWeights(float))) });
}

/** Trains an adapter of any scheme beside the frozen base. */
export async function trainAdapter(
  context: TuneContext,
  scheme: AdapterScheme,
  shots: LabelledFeatures,
  replay: LabelledFeatures,
  learningRate = DEFAULT_ADAPTATION.learningRate,
): Promise<Tuned> {
  const { bundle, network, settings, signal } = context;
  const { steps, seed } = settings;
  const layout = adapterLayout(scheme, network);
  const initial = fitsBank(bundle, scheme)
    ? readAdapter(bundle, bundle.files.get(FILES.adapter)!, FILES.adapter)
    : layout.initialize(new Random(seed));
  const session = await stepOf(context, scheme);
  try {
    const adapter = await adapt(
      session,
      initial,
      shots,
      replay,
      { ...DEFAULT_ADAPTATION, learningRate, steps, seed },
      { signal, onStep: turn },
    );
    return adapted(context, scheme, adapter);
  } finally {
    await session.release();
  }
}

/** The base with an adapter beside it. */
export function adapted({ bundle, network, base }: TuneContext, scheme: AdapterScheme, adapter: Float32Array): Tuned {
  const file = encodeAdapter(scheme, network, adapter, bundle.manifest.base);
  return { network, weights: base, scheme, adapter, trainable: adapter.length, adapterBytes: file.length };
}

/** A turn of the event loop, which lets signals through. */
export const turn = (): Promise<void> => new Promise((resolve) => setImmediate(resolve));
