import * as z from 'zod';
import type { AdapterScheme } from '../../models/adapters/scheme.ts';
import { readAdapter, readBundle } from '../../models/bundle/bundle.ts';
import type { Engine } from '../../models/engine/engine.ts';
import { createNetwork, type NetworkOptions } from '../../models/networks/index.ts';
import { joinFeatures, type LabelledFeatures, takeRows } from '../../runtime/adapt/labelled-features.ts';
import type { AdapterStatement } from '../../runtime/contracts/adaptation.ts';
import { readStatement } from '../../runtime/io/adapter-statement.ts';
import { readBase } from '../release/base.ts';
import { encodeAdapter } from '../release/bundle-parts.ts';
import { featuresOf, readReplay } from '../tune/front-end.ts';
import { deploy } from '../tune/measure.ts';
import type { TuneContext } from '../tune/method.ts';
import { adapted } from '../tune/train-adapter.ts';
import { averageAdapters } from './average.ts';
import type { ServerConfiguration } from './configuration.ts';
import { type ModelStore, modelFolder } from './model-store.ts';
import { cutOf, fittingWindows } from './retrain-windows.ts';
import type { Store } from './store.ts';

export const averageInputSchema = z.strictObject({
  site: z.string(),
  /** Name of the kind of machine, and the digest of the bundle whose base the adapters fit. */
  kind: z.string(),
  bundle: z.string(),
  adapters: z.array(z.strictObject({ gateway: z.string(), stream: z.string(), id: z.string() })).min(2),
});

export interface AverageResult {
  readonly outcome: 'accepted' | 'refused';
  readonly reason?: string;
  /** Streams that the average is better for than their own adapter, with both accuracies on the guard set. */
  readonly offers: readonly { readonly gateway: string; readonly stream: string; readonly own: number; readonly average: number }[];
  readonly quarantined: readonly { readonly gateway: string; readonly id: string; readonly reason: string }[];
  /** The average as a safetensors file, base64, where anybody is offered it. */
  readonly file?: string;
  readonly seconds: number;
}

interface Learned {
  readonly gateway: string;
  readonly stream: string;
  readonly id: string;
  readonly values: Float32Array;
  readonly weight: number;
}

/**
 * Averages what machines of one kind have learned, and offers it to those for whom it is better. Adapters are not trusted: one without a signature of its
 * gateway's first key, or that costs what the bundle knew, is quarantined.
 */
export async function runAverage(
  engine: Engine,
  configuration: Pick<ServerConfiguration, 'retrain'>,
  models: ModelStore,
  store: Store,
  { site, bundle: digest, adapters }: z.infer<typeof averageInputSchema>,
): Promise<AverageResult> {
  const began = performance.now();
  const bundle = await readBundle(await modelFolder(models, configuration, digest), ['core', 'adapt', 'server']);
  const { manifest } = bundle;
  const network = createNetwork(manifest.network as NetworkOptions);
  const scheme = manifest.adapter as AdapterScheme;
  const replay = readReplay(bundle);
  const context: TuneContext = {
    ...{ engine, bundle, network, unlabelled: new Float32Array(0), balance: [] },
    base: readBase(bundle).primary.weights,
    settings: { prefixLength: 1, steps: 1, seed: 1 },
  };
  const accuracy = async (examples: LabelledFeatures, values?: Float32Array) => {
    const made = await deploy(context, replay, values && adapted(context, scheme, values));
    const { balancedAccuracy } = await made.measure(examples);
    await made.release();
    return balancedAccuracy;
  };

  const tolerance = configuration.retrain?.tolerance ?? 0;
  const base = await accuracy(replay);
  const quarantined: AverageResult['quarantined'][number][] = [];
  const learned: Learned[] = [];
  const kept = new Map((await store.arrivals(site, 'adapter')).map((arrival) => [`${arrival.gateway}/${arrival.id}`, arrival]));
  for (const { gateway, stream, id } of adapters) {
    const arrival = kept.get(`${gateway}/${id}`);
    if (!arrival) continue;
    const bytes = new Uint8Array(Buffer.from((JSON.parse(arrival.body) as { file: string }).file, 'base64'));
    try {
      const statement = readStatement(manifest, bytes, `the adapter of ${gateway}/${stream}`);
      const known = await store.gatewayKey(site, gateway, statement.publicKey);
      if (known !== statement.publicKey) throw new Error('is signed with another key than the gateway had first');
      const values = readAdapter(bundle, bytes, `the adapter of ${gateway}/${stream}`);
      const cost = base - (await accuracy(replay, values));
      if (cost > tolerance)
        throw new Error(
          `costs ${(100 * cost).toFixed(1)} points of accuracy on what is known, ${(100 * tolerance).toFixed(1)} are allowed`,
        );
      learned.push({ gateway, stream, id, values, weight: weightOf(statement) });
    } catch (error) {
      quarantined.push({ gateway, id, reason: (error as Error).message });
    }
  }
  const seconds = () => (performance.now() - began) / 1000;
  if (learned.length < 2)
    return { outcome: 'refused', reason: 'fewer than two adapters can be trusted', offers: [], quarantined, seconds: seconds() };
  const average = averageAdapters(
    scheme,
    network,
    learned.map(({ values }) => values),
    learned.map(({ weight }) => weight),
  );
  const windows = fittingWindows(await store.labelledWindows(site), manifest);
  const features = windows.length === 0 ? undefined : await featuresOf(engine, bundle, cutOf(windows, manifest).windows);
  const offers: AverageResult['offers'][number][] = [];
  for (const { gateway, stream, values } of learned) {
    const rows = [...windows.keys()].filter((row) => windows[row].gateway === gateway && windows[row].stream === stream);
    const guard = features ? joinFeatures([replay, takeRows(features, rows)]) : replay;
    const [own, shared] = [await accuracy(guard, values), await accuracy(guard, average)];
    if (shared > own) offers.push({ gateway, stream, own, average: shared });
  }
  const file = Buffer.from(encodeAdapter(scheme, network, average, manifest.base)).toString('base64');
  return offers.length > 0
    ? { outcome: 'accepted', offers, quarantined, file, seconds: seconds() }
    : { outcome: 'refused', reason: 'no machine is better off with the average', offers, quarantined, seconds: seconds() };
}

/** Windows that it was learned from. */
function weightOf({ labels }: AdapterStatement): number {
  return Math.max(
    1,
    labels.reduce((sum, { windows }) => sum + windows, 0),
  );
}
