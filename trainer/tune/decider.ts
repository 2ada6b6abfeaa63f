import { adapterLayout } from '../../models/adapters/adapter.ts';
import { type AdapterScheme, bankRow } from '../../models/adapters/scheme.ts';
import { type Bundle, FILES } from '../../models/bundle/bundle.ts';
import { type Engine, emptyTensor, floatTensor, type Session, type TensorData } from '../../models/engine/engine.ts';
import { featureCount } from '../../models/networks/front-end.ts';
import type { Network } from '../../models/networks/network.ts';
import type { Graph } from '../../models/trace/graph.ts';
import { decodeOnnx, encodeOnnx } from '../../models/trace/onnx.ts';
import { traceInference } from '../../models/training/trace-inference.ts';
import type { NetworkWeights } from '../../models/training/trace-training.ts';
import { feedBatches, quantizeCalibrated } from '../shrink/quantize.ts';
import { cutAtFeatures, partInput } from './cut-graph.ts';
import { restandardize } from './standardize.ts';

const BATCH = 64;

/** A network as it is deployed: int8, with an adapter in the bank or none. */
export interface Deployment {
  readonly network: Network;
  readonly weights: NetworkWeights;
  readonly scheme: AdapterScheme;
  /** As trained; the base alone where absent. */
  readonly adapter?: Float32Array;
}

export interface Decisions {
  /** [count, classes] */
  readonly logits: Float32Array;
  /** [count, embeddingWidth] */
  readonly embeddings: Float32Array;
}

/** Decides on features with the int8 graph that a gateway runs, through the adapter bank. */
export class Decider {
  readonly #session: Session;
  readonly #network: Network;
  readonly #statistics: Float32Array;
  readonly #given: Float32Array;

  private constructor(session: Session, network: Network, statistics: Float32Array, given: Float32Array) {
    this.#session = session;
    this.#network = network;
    this.#statistics = statistics;
    this.#given = given;
  }

  /** The bundle's own deciding graph, less its front end. */
  static async ofBundle(
    engine: Engine,
    { files }: Bundle,
    network: Network,
    statistics: Float32Array,
    given = statistics,
  ): Promise<Decider> {
    const graph = cutAtFeatures(decodeOnnx(files.get(FILES.infer)!, files), network, statistics);
    return new Decider(await engine.load({ graph: encodeOnnx(graph) }), network, statistics, given);
  }

  /**
   * Other weights or another scheme, made into int8 as a bundle of them would be.
   *
   * @param calibration features whose activations set the ranges
   * @param given statistics with which all features here are standardised
   */
  static async quantized(
    engine: Engine,
    { network, weights, scheme, adapter }: Deployment,
    calibration: Float32Array,
    given: Float32Array,
  ) {
    const float = traceInference(network, { input: 'float32', adapter: scheme, reference: false, temperature: 1 }, weights);
    const { size } = adapterLayout(scheme, network);
    const bank = bankOf(scheme, network, adapter);
    const features = restandardize(network, calibration, given, weights.statistics);
    const rows = features.length / featureCount(network.parts);
    const feeds = (from: number, count: number) => ({ ...feedsOf(network, features, from, count), ...bankFeeds(bank, size, count) });
    const graph: Graph = cutAtFeatures(float, network, weights.statistics);
    const int8 = await quantizeCalibrated(engine, graph, feedBatches(feeds, rows));
    return new Decider(await engine.load({ graph: encodeOnnx(int8) }), network, weights.statistics, given);
  }

  /** @param features standardised as the base's statistics say, [count, F] @param row of the bank, scale included; the base alone where absent */
  async decide(features: Float32Array, row?: Float32Array): Promise<Decisions> {
    const own = restandardize(this.#network, features, this.#given, this.#statistics);
    const count = own.length / featureCount(this.#network.parts);
    const size = this.#session.inputs.find(({ name }) => name === 'adapterBank')!.shape[1] as number;
    const bank = new Float32Array(2 * size);
    if (row) bank.set(row, size);
    const { classes, embeddingWidth } = this.#network;
    const [logits, embeddings] = [new Float32Array(count * classes), new Float32Array(count * embeddingWidth)];
    for (let from = 0; from < count; from += BATCH) {
      const rows = Math.min(BATCH, count - from);
      const made = await this.#session.run({ ...feedsOf(this.#network, own, from, rows), ...bankFeeds(bank, size, rows) });
      logits.set(made.logits.values as Float32Array, from * classes);
      embeddings.set(made.embedding.values as Float32Array, from * embeddingWidth);
    }
    return { logits, embeddings };
  }

  release(): Promise<void> {
    return this.#session.release();
  }
}

/** [2, P]: no adapter, and the given one. */
function bankOf(scheme: AdapterScheme, network: Network, adapter: Float32Array | undefined): Float32Array {
  const layout = adapterLayout(scheme, network);
  const bank = new Float32Array(2 * layout.size);
  if (adapter) bank.set(bankRow(scheme, layout, adapter), layout.size);
  return bank;
}

function bankFeeds(bank: Float32Array, size: number, count: number): Record<string, TensorData> {
  const index = emptyTensor('int32', [count]);
  (index.values as Int32Array).fill(1);
  return { adapterBank: floatTensor(bank, [2, size]), adapterIndex: index };
}

/** Some rows of [count, F] as one tensor a part. */
function feedsOf(network: Network, features: Float32Array, from: number, count: number): Record<string, TensorData> {
  const total = featureCount(network.parts);
  const feeds: Record<string, TensorData> = {};
  let offset = 0;
  for (const { kind, tokens, width } of network.parts) {
    const size = tokens * width;
    const values = new Float32Array(count * size);
    for (let row = 0; row < count; row++) {
      const start = (from + row) * total + offset;
      values.set(features.subarray(start, start + size), row * size);
    }
    feeds[partInput(kind)] = floatTensor(values, [count, tokens, width]);
    offset += size;
  }
  return feeds;
}
