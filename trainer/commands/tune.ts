import { mkdir, writeFile } from 'node:fs/promises';
import { dirname, join, resolve } from 'node:path';
import type { AdapterScheme } from '../../models/adapters/scheme.ts';
import { FILES, readBundle, refuseForeignFolder } from '../../models/bundle/bundle.ts';
import { createOnnxruntimeEngine } from '../../models/engine/onnxruntime-engine.ts';
import { DEFAULT_ADAPTATION } from '../../runtime/adapt/adaptation.ts';
import { openRecordingSet, parseCondition, type RecordingSet, select } from '../data/recording-set.ts';
import { parseRelabel, relabelSet } from '../data/relabel.ts';
import { isNoveltyBundle } from '../evaluate/evaluate-novelty.ts';
import { Refusal } from '../refusal.ts';
import { encodeAdapter } from '../release/bundle-parts.ts';
import type { BeforeOrAfter } from '../tune/measure.ts';
import { fitsBank, METHOD_NAMES, type MethodName } from '../tune/method.ts';
import { METHODS } from '../tune/methods/index.ts';
import { loraScheme } from '../tune/methods/lora.ts';
import { releaseTuned, type TunedRelease } from '../tune/release.ts';
import { readTarget } from '../tune/target.ts';
import { type TuneResult, tuneBundle } from '../tune/tune.ts';
import { type Command, choiceOption, listOption, numberOption, type ParsedArguments, textOption } from './command.ts';

const DEFAULT_PREFIX = 4;

async function chosenRecordings(folder: string, args: ParsedArguments, where: string): Promise<RecordingSet> {
  const set = select(await openRecordingSet(folder), listOption(args, where).map(parseCondition));
  return relabelSet(set, listOption(args, 'relabel').map(parseRelabel));
}

/** Where the result goes; checked before the work, not after it. */
async function checkOut(args: ParsedArguments): Promise<{ out?: string; merge: boolean }> {
  const out = textOption(args, 'out');
  const merge = args.values.merge === true;
  if (merge && !out) throw new Refusal('usage/arguments', '--merge makes a bundle: name its folder with --out');
  if (merge && out) await refuseForeignFolder(resolve(out));
  return { out: out && resolve(out), merge };
}

function percent(share: number): string {
  return `${(100 * share).toFixed(1)} %`;
}

/** The matrix as people read it. */
function matrix({ methods: rows, method: chosen, unadapted }: TuneResult): string[] {
  const head = `  ${'method'.padEnd(14)}${'target'.padStart(8)}${'source'.padStart(8)}${'trained'.padStart(10)}${'share'.padStart(9)}${'seconds'.padStart(9)}${'bytes'.padStart(10)}`;
  const lines = rows.map(({ method, refused, trainable, trainableShare, seconds, adapterBytes, validation }) => {
    const name = `${method === chosen ? '>' : ' '} ${method}`.padEnd(16);
    if (refused && seconds === undefined) return `${name}  ${refused}`;
    const accuracy = (value?: number) => (value === undefined ? '-' : value.toFixed(3)).padStart(8);
    const costs = `${String(trainable).padStart(10)}${percent(trainableShare!).padStart(9)}${seconds!.toFixed(2).padStart(9)}${String(adapterBytes).padStart(10)}`;
    return `${name}${accuracy(validation?.target)}${accuracy(validation?.source)}${costs}${refused ? `  ${refused}` : ''}`;
  });
  const idle =
    unadapted && `${'  as it is'.padEnd(16)}${unadapted.target.toFixed(3).padStart(8)}${unadapted.source.toFixed(3).padStart(8)}`;
  return [head, ...(idle ? [idle] : []), ...lines];
}

function accuracies(before: BeforeOrAfter, after: BeforeOrAfter): string[] {
  const line = (what: string, a: BeforeOrAfter['target'], b: BeforeOrAfter['target']) =>
    `  ${what.padEnd(30)}${a.accuracy.toFixed(3).padStart(8)} -> ${b.accuracy.toFixed(3)}   balanced ${a.balancedAccuracy.toFixed(3)} -> ${b.balancedAccuracy.toFixed(3)}`;
  const known = before.source.measuredOn === 'replay' ? 'source (replay windows' : 'source (recordings';
  return [
    line(`target (${before.target.windows} windows)`, before.target, after.target),
    line(`${known}, ${before.source.windows})`, before.source, after.source),
  ];
}

/** What `--json` prints. */
function report(result: TuneResult, release: TunedRelease | undefined): Record<string, unknown> {
  const { method, tuned, seconds, trainableShare, before, after, methods, unadapted, warnings, examples } = result;
  return {
    method,
    trainable: tuned.trainable,
    trainableShare,
    seconds,
    adapterBytes: tuned.adapterBytes,
    shots: examples.shots.labels.length,
    before,
    after,
    methods,
    ...(unadapted && { unadapted }),
    warnings,
    ...(release && { merged: { digest: release.bundle.digest, target: release.measured, delta: release.delta } }),
  };
}

export const tune: Command = {
  verb: 'tune',
  summary: 'adapt a bundle to another machine or condition from a few labelled windows',
  help: `usage: tremolo tune BUNDLE SET --shots K [--method NAME] [options]

Draws K labelled windows of every class from the target's recordings, adapts the bundle to them, and measures it as it would be deployed on the other
windows of the target; none of these shares a sample with a drawn one. The bundle's replay windows keep what it knew.

  --shots K                   labelled windows a class (default 1)
  --method NAME               ${METHOD_NAMES.map((name) => `${name.padEnd(12)}${METHODS[name].summary}`).join('\n                              ')}
                              auto        (default) measures them all and takes the best
  --where KEY=VALUE[,VALUE]   only target recordings with that condition (repeatable)
  --rate HZ                   resample every recording, band-limited
  --relabel PATTERN=CLASS     call classes as the bundle does, as in --relabel 'IR*=inner' (repeatable)
  --source SET                recordings of what the bundle knew, to measure what it forgot (default SET, where --source-where is given;
  --source-where KEY=VALUE    without both, the replay windows, which are also learned from)
  --rank R --alpha A          of lora; those of the bundle where absent
  --targets PATTERN,..        layers that lora changes, as in layer*.ffn.*,head
  --prefix-length L           keys and values a layer (default ${DEFAULT_PREFIX})
  --steps N                   (default ${DEFAULT_ADAPTATION.steps})
  --seed N                    which windows are drawn, and all that is random in training (default 1)
  --out FILE_OR_FOLDER        write the adapter, which fits the bundle's bank: lora with the bundle's own rank and targets
  --merge --out BUNDLE        merge into the float weights, make int8 again, prove that it decides alike, write a new bundle

How auto chooses: each method is trained and judged on windows it has not seen, taken from shots and replay: up to three folds where K is 2 or more;
with K = 1, on the shots under augmentation (loudness, direction, sign, noise at 40 dB) and on the half of replay that was not learned from. The best mean of both
accuracies wins; among those within one window of it, first what fits the bundle's bank, statistics last, then the fewest bytes. Without --merge, --out lets it choose
only what fits the bank. statistics is not tried on a target that is mostly one class.

example: tremolo simulate --out plant --machines 20 --seconds 10
         tremolo train plant --out bundle --group machine
         tremolo simulate --out another --machines 1 --seconds 10 --seed 2
         tremolo tune bundle another --shots 1 --method lora --out adapter.safetensors`,
  options: {
    where: { type: 'string', multiple: true },
    channels: { type: 'string' },
    rate: { type: 'string' },
    relabel: { type: 'string', multiple: true },
    source: { type: 'string' },
    'source-where': { type: 'string', multiple: true },
    shots: { type: 'string' },
    method: { type: 'string' },
    rank: { type: 'string' },
    alpha: { type: 'string' },
    targets: { type: 'string' },
    'prefix-length': { type: 'string' },
    steps: { type: 'string' },
    seed: { type: 'string' },
    merge: { type: 'boolean' },
    out: { type: 'string' },
  },
  positionals: 2,
  async run(args, signal) {
    const [folder, setFolder] = args.positionals;
    if (!folder || !setFolder) throw new Refusal('usage/arguments', 'name a bundle and a recording set; see tremolo tune --help');
    const method = choiceOption(args, 'method', ['auto', ...METHOD_NAMES] as const);
    const shots = numberOption(args, 'shots', 1, { min: 1, max: 1e6, whole: true });
    const optional = (name: string, limits: Parameters<typeof numberOption>[3]) =>
      textOption(args, name) === undefined ? undefined : numberOption(args, name, 0, limits);
    const settings = {
      rank: optional('rank', { min: 1, max: 64, whole: true }),
      alpha: optional('alpha', { min: 1e-6, max: 1e6 }),
      targets: textOption(args, 'targets')?.split(','),
      prefixLength: numberOption(args, 'prefix-length', DEFAULT_PREFIX, { min: 1, max: 64, whole: true }),
      steps: numberOption(args, 'steps', DEFAULT_ADAPTATION.steps, { min: 1, max: 1e6, whole: true }),
      seed: numberOption(args, 'seed', DEFAULT_ADAPTATION.seed, { max: 2 ** 32 - 1, whole: true }),
    };
    const rateHz = optional('rate', { min: 1e-3, max: 1e9 });
    const { out, merge } = await checkOut(args);
    if (isNoveltyBundle((await readBundle(folder)).manifest)) {
      throw new Refusal(
        'tune/novelty',
        `${folder} is a novelty bundle, which has no classes to tune; train one from it with tremolo train --from`,
      );
    }
    const bundle = await readBundle(folder, ['core', 'adapt', 'server']);
    const channels = textOption(args, 'channels');
    const { channels: heard } = bundle.manifest.recipe;
    if (channels !== undefined && channels !== heard.join()) {
      throw new Refusal('tune/channels', `--channels ${channels}: the bundle listens to ${heard}; it cannot be tuned to other channels`);
    }
    if (out && !merge && method !== 'auto' && !resultFitsBank(method, bundle, settings)) {
      throw new Refusal(
        'usage/arguments',
        `--method ${method} with these settings gives no row of the bundle's bank; add --merge for a new bundle`,
      );
    }
    const set = await chosenRecordings(setFolder, args, 'where');
    const target = await readTarget(set, bundle, rateHz);
    const hasSource = textOption(args, 'source') !== undefined || listOption(args, 'source-where').length > 0;
    const source = hasSource
      ? await readTarget(await chosenRecordings(textOption(args, 'source') ?? setFolder, args, 'source-where'), bundle, rateHz)
      : undefined;

    const engine = await createOnnxruntimeEngine();
    const request = { method, shots, settings, bankOnly: out !== undefined && !merge };
    const onProgress = (note: string) => process.stderr.write(`${note}\n`);
    const result = await tuneBundle(engine, bundle, target, source, request, { signal, onProgress });
    for (const warning of result.warnings) process.stderr.write(`warning: ${warning}\n`);
    const { tuned } = result;
    let release: TunedRelease | undefined;
    let written = 'nothing was written; --out FILE keeps the adapter, --merge --out BUNDLE makes a bundle';
    if (out && merge) {
      release = await releaseTuned(out, set.name, result, target, source);
      const { delta, noveltyLeftOut: left } = release;
      written = `bundle ${release.bundle.digest.slice(0, 12)} written to ${out}: ${delta.changed} of ${delta.windows} windows decided otherwise than before merging, logits differ by ${delta.mean.toFixed(3)} on average, ${delta.largest.toFixed(3)} at most${left ? `; without its novelty score, for which ${left.needed} windows are needed and ${left.windows} are here` : ''}`;
    } else if (out) {
      const file = out.endsWith('.safetensors') ? out : join(out, FILES.adapter);
      await mkdir(dirname(file), { recursive: true });
      await writeFile(file, encodeAdapter(tuned.scheme, tuned.network, tuned.adapter!, bundle.manifest.base));
      written = `adapter of ${tuned.adapterBytes} bytes written to ${file}`;
    }
    process.stdout.write(
      [
        `${result.method}: ${result.examples.shots.labels.length} labelled windows, ${tuned.trainable} numbers trained (${percent(result.trainableShare)}) in ${result.seconds.toFixed(1)} s`,
        ...matrix(result),
        ...accuracies(result.before, result.after),
        written,
        '',
      ].join('\n'),
    );
    return report(result, release);
  },
};

/** Whether a method that was asked for yields an adapter of the bundle's own scheme. */
function resultFitsBank(
  method: MethodName,
  bundle: Awaited<ReturnType<typeof readBundle>>,
  settings: Parameters<typeof loraScheme>[0]['settings'],
): boolean {
  const schemes: Partial<Record<MethodName, () => AdapterScheme>> = {
    lora: () => loraScheme({ bundle, settings }),
    prefix: () => ({ kind: 'prefix', length: settings.prefixLength }),
    head: () => ({ kind: 'head' }),
    prototypes: () => ({ kind: 'head' }),
  };
  const scheme = schemes[method]?.();
  return scheme !== undefined && fitsBank(bundle, scheme);
}
