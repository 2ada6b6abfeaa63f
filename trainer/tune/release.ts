import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { basename, join, resolve } from 'node:path';
import { mergeAdapter } from '../../models/adapters/merge.ts';
import type { AdapterScheme } from '../../models/adapters/scheme.ts';
import { type Bundle, FILES, writeBundle } from '../../models/bundle/bundle.ts';
import type { Manifest } from '../../models/bundle/schema/manifest.ts';
import { encodeSafetensors } from '../../models/bundle/schema/safetensors.ts';
import { type Engine, floatTensor } from '../../models/engine/engine.ts';
import type { NetworkOptions } from '../../models/networks/index.ts';
import { joinFeatures, type LabelledFeatures } from '../../runtime/adapt/labelled-features.ts';
import { VERSION } from '../../runtime/version.ts';
import type { Windows } from '../data/windows.ts';
import { fitReference, windowsNeeded } from '../evaluate/novelty-training.ts';
import { joinWindows } from '../evaluate/sampling.ts';
import { readBase, type TrainedNetwork } from '../release/base.ts';
import { encodeAdapter } from '../release/bundle-parts.ts';
import { draftBundle, type NoveltyRequest } from '../release/draft-bundle.ts';
import { Decider } from './decider.ts';
import { type MergeDelta, mergeDelta, refuseDelta } from './delta.ts';
import { type BeforeOrAfter, deploy, deployed, rowOf } from './measure.ts';
import type { Tuned } from './method.ts';
import { restandardize } from './standardize.ts';
import type { CutRecordings } from './target.ts';
import type { TuneResult } from './tune.ts';

/** A tuned network as a bundle of its own. */
export interface TunedRelease {
  readonly bundle: Bundle;
  readonly delta: MergeDelta;
  /** Of the bundle as written. */
  readonly measured: BeforeOrAfter['target'];
  /** Windows that are at hand and that the novelty score would need, where it was left out for being too few. */
  readonly noveltyLeftOut?: { readonly windows: number; readonly needed: number };
}

/** What the new bundle's graphs are made from: weights with the adapter merged into them; a prefix stays beside them. */
function released({ network, weights, scheme, adapter }: Tuned, own: AdapterScheme): { weights: Tuned['weights']; scheme: AdapterScheme } {
  if (!adapter) return { weights, scheme };
  if (scheme.kind === 'prefix') return { weights, scheme };
  return { weights: { ...weights, parameters: mergeAdapter(network, weights.parameters, scheme, adapter) }, scheme: own };
}

function encodeReplay({ features, labels }: LabelledFeatures): Uint8Array {
  const tensors = {
    features: floatTensor(features, [labels.length, features.length / labels.length]),
    labels: { type: 'int32' as const, shape: [labels.length], values: labels },
  };
  return encodeSafetensors({ tensors, metadata: {} });
}

/**
 * The parent's novelty score in an embedding that tuning has changed: where the windows at hand lie, with a threshold of the parent's share of them.
 * Without recordings of the source, its machines are new to it.
 */
async function noveltyAgain(
  engine: Engine,
  primary: TrainedNetwork,
  { novelty }: Manifest,
  known: Windows,
  seed: number,
): Promise<NoveltyRequest | TunedRelease['noveltyLeftOut']> {
  if (!novelty) return undefined;
  const { share } = novelty;
  const needed = windowsNeeded(share);
  if (known.count < needed) return { windows: known.count, needed };
  return { reference: await fitReference(engine, primary, known, seed), share, known, excess: 1 };
}

/**
 * Merges what was tuned into the float base, makes int8 of it again, and holds that against base and adapter as they were measured, on the replay windows
 * and every measured window of the target. The new bundle names its parent, keeps the parent's replay windows and adds the shots to them; novelty is
 * scored anew, and how healthy windows score is what the parent says. How the back-up differs is not measured again, so nothing is said of it.
 *
 * Calibration reads target and source recordings without their labels.
 *
 * @throws Refusal tune/merge where the merged graph decides otherwise; nothing is written then
 */
export async function releaseTuned(
  folder: string,
  setName: string,
  result: Pick<TuneResult, 'method' | 'context' | 'tuned' | 'examples'> & {
    readonly after: { readonly target: TuneResult['after']['target'] };
  },
  target: CutRecordings,
  source: CutRecordings | undefined,
): Promise<TunedRelease> {
  const { context, tuned, examples, method } = result;
  const { engine, bundle: parent, network, base } = context;
  const { manifest } = parent;
  const { weights, scheme } = released(tuned, manifest.adapter as AdapterScheme);
  const primary: TrainedNetwork = { options: manifest.network as NetworkOptions, weights };
  const { backup } = readBase(parent);
  const split = `${examples.shots.labels.length} labelled windows of ${setName}, tuned by ${method} from ${manifest.name}`;
  const { classes, recipe } = manifest;
  const { seed } = context.settings;
  const known = joinWindows([target.windows, ...(source ? [source.windows] : [])]);
  const novelty = await noveltyAgain(engine, primary, manifest, known, seed);
  const draft = await draftBundle(
    engine,
    {
      name: basename(resolve(folder)),
      classes,
      recipe,
      primary,
      backup,
      adapter: scheme,
      temperature: manifest.temperature,
      ...(novelty && 'reference' in novelty && { novelty }),
      leaves: manifest.leaves,
      lineage: { set: setName, split, seed, parent: parent.digest },
      version: VERSION,
    },
    [...(source?.recordings ?? []), ...target.recordings],
  );
  const scratch = await mkdtemp(join(tmpdir(), 'tremolo-tune-'));
  const unproved = await draft
    .write(join(scratch, 'bundle'), { measured: result.after.target, decision: manifest.decision })
    .finally(() => rm(scratch, { recursive: true, force: true }));
  await draft.release();

  const row = scheme.kind === 'prefix' ? rowOf(tuned) : undefined;
  const decider = await Decider.ofBundle(engine, unproved, network, weights.statistics, base.statistics);
  const fresh = deployed(decider, classes.length, row);
  const reference = await deploy(context, examples.replay, tuned);
  const { features } = joinFeatures([examples.replay, examples.measured]);
  const delta = mergeDelta(await fresh.logits(features), await reference.logits(features), classes.length);
  const measured = await fresh.measure(examples.measured);
  await fresh.release();
  await reference.release();
  refuseDelta(delta);

  const replay = joinFeatures([examples.replay, examples.shots]);
  const own = { ...replay, features: restandardize(network, replay.features, base.statistics, weights.statistics) };
  const { parts, base: digest, ...description } = unproved.manifest;
  const filesOf = (part: keyof typeof parts) => new Map(Object.keys(parts[part] ?? {}).map((name) => [name, unproved.files.get(name)!]));
  const core = filesOf('core');
  if (scheme.kind === 'prefix') core.set(FILES.adapter, encodeAdapter(scheme, network, tuned.adapter!, digest));
  const adapt = filesOf('adapt').set(FILES.replay, encodeReplay(own));
  const bundle = await writeBundle(folder, { ...description, measured }, { core, adapt, server: filesOf('server') });
  return { bundle, delta, measured, ...(novelty && 'needed' in novelty && { noveltyLeftOut: novelty }) };
}
