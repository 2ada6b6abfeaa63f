import { createHash } from 'node:crypto';
import { readFile, stat } from 'node:fs/promises';
import { join } from 'node:path';
import { readBundle } from '../../models/bundle/bundle.ts';
import { writeWhole } from '../../runtime/io/whole-file.ts';
import { VERSION } from '../../runtime/version.ts';
import type { Recording, RecordingEntry, RecordingSet } from '../data/recording-set.ts';
import { type Change, changesOf, conditionChange, costliest, measureChanges } from '../demo/loop/changes.ts';
import { type LoopScene, recordedScene } from '../demo/loop/demo-loop.ts';
import { parseShift } from '../demo/loop/recordings.ts';
import { VOTE } from '../evaluate/smoothing.ts';
import { ProgressBar } from '../io/progress.ts';
import { Refusal } from '../refusal.ts';
import { readFitting } from '../replay/replay-set.ts';
import { openEngine } from '../train/engines.ts';
import { trainBundle } from '../train/pipeline.ts';
import { DEFAULT_CHOICES, type PipelineChoices } from '../train/settings.ts';
import { cacheFolder } from '../train/stages.ts';
import type { PipelineRequest } from '../train/workspace.ts';
import { type ParsedArguments, textOption } from './command.ts';
import { percent } from './stage-table.ts';
import { pipelineRequest, trainReport } from './train.ts';

/**
 * A demonstration wants a bundle within half a minute: the student alone.
 */
export const QUICK: PipelineChoices = {
  ...DEFAULT_CHOICES,
  choose: false,
  teacher: false,
  prune: false,
  robustness: false,
  baselines: ['ridge'],
};

/** Trains quickly, or takes the bundle that the same data and settings gave before. */
export async function quickBundle(
  set: RecordingSet,
  settings: PipelineRequest,
  signal: AbortSignal,
): Promise<{ readonly bundleFolder: string; readonly training: Record<string, unknown> }> {
  const bundleFolder = join(cacheFolder(), `demo-${keyOf([...(await described(set)), settings])}`);
  const reportFile = `${bundleFolder}.json`;
  let training = await cachedReport(bundleFolder, reportFile);
  if (training) {
    process.stderr.write(`the bundle of this data and these settings is in the cache: ${bundleFolder}\n`);
  } else {
    training = trainReport(await trainBundle(set, bundleFolder, settings, signal));
    await writeWhole(reportFile, JSON.stringify(training));
  }
  return { bundleFolder, training };
}

/** Of the student that a loop is shown on: measured and played is the same quick one. */
const LOOP_CHOICES: PipelineChoices = { ...QUICK, baselines: [], student: { ...QUICK.student, steps: 120 } };
/** Less than this is no loss that a demonstration could show. */
const LEAST_COST = 0.02;

/** The change that is asked for, or the one that costs a quick student most; undefined where the recordings have none that costs anything. */
export async function chooseChange(set: RecordingSet, args: ParsedArguments, signal: AbortSignal): Promise<Change | undefined> {
  const shift = textOption(args, 'shift');
  if (shift !== undefined) {
    const { field, from, to } = parseShift(shift, set.recordings);
    const asked = conditionChange(set, field, from, to);
    if (!asked)
      throw new Refusal('demo/shift', `recordings of ${field} ${from} and ${to} share fewer than two classes; see tremolo data info`);
    return asked;
  }
  const request = pipelineRequest(args, set.name, LOOP_CHOICES);
  const { steps = 1, ...rest } = request.choices.student;
  const how = { channels: request.channels, rateHz: request.rateHz, steps, seed: request.choices.seed };
  const changes = changesOf(set, how);
  if (changes.length === 0) {
    process.stderr.write('no loop: no number of 2 to 5 values parts these recordings, so nothing can change; those held out are decided\n');
    return undefined;
  }
  const measured = await cached('changes', [await described(set), how, rest], async () => {
    const engine = await openEngine(request.choices.engine);
    const bar = new ProgressBar('what could change');
    const costs = await measureChanges(engine, set, changes, how, (share, note) => bar.update(share, note), signal);
    bar.done(`${costs.length} changes`);
    return costs.map(({ before, after }) => ({ before, after }));
  });
  const costs = changes.map((change, index) => ({ change, ...measured[index] }));
  const most = costliest(costs);
  const lines = costs.map(
    ({ change, before, after }) => `  ${percent(before).padStart(8)} -> ${percent(after).padStart(8)}  ${change.text}`,
  );
  process.stderr.write(`what each costs a student of ${steps} steps, ${VOTE} windows decided together:\n${lines.join('\n')}\n`);
  const cost = 100 * (most.before - most.after);
  if (cost < 100 * LEAST_COST) {
    process.stderr.write(`no loop: the worst costs ${cost.toFixed(1)} points, nothing that must be mended; those held out are decided\n`);
    return undefined;
  }
  process.stderr.write(`shown, since it costs most (${cost.toFixed(1)} points): ${most.change.text}\n`);
  return most.change;
}

/** Trains on what was before a change; plays that, and then what came after it. */
export async function recordedLoop(set: RecordingSet, change: Change, args: ParsedArguments, signal: AbortSignal): Promise<LoopScene> {
  const { train, tested, before, after, channelsAfter, text } = change;
  const request = pipelineRequest(args, set.name, LOOP_CHOICES);
  const split = { kind: 'condition', condition: { key: tested.field, values: [String(tested.value)] } } as const;
  const test = channelsAfter ? before : after;
  const { bundleFolder } = await quickBundle({ ...set, recordings: [...train, ...test] }, { ...request, split }, signal);
  const { recipe } = (await readBundle(bundleFolder)).manifest;
  const read = (entries: readonly RecordingEntry[], channels: readonly string[] | undefined) =>
    Promise.all(entries.map((entry) => readFitting(set, entry, recipe, { channels, rateHz: request.rateHz })));
  const [played, playedAfter] = [await read(before, request.channels), await read(after, channelsAfter ?? request.channels)];
  const scale = scaleOf([...played, ...playedAfter]);
  return recordedScene(bundleFolder, played, playedAfter, {
    changeText: text,
    scale,
    stride: recipe.stride,
    fast: args.values.fast === true,
  });
}

/** What names the result of some work: the program, the recordings' files, and whatever else it is made of. */
function keyOf(parts: readonly unknown[]): string {
  return createHash('sha256')
    .update(JSON.stringify([VERSION, ...parts]))
    .digest('hex')
    .slice(0, 16);
}

const described = async (set: RecordingSet) => [set.recordings, await fileStamps(set)];

/** Figures that the same data and settings gave before, or are measured now. */
async function cached<T>(name: string, parts: readonly unknown[], measure: () => Promise<T>): Promise<T> {
  const file = join(cacheFolder(), `demo-${name}-${keyOf(parts)}.json`);
  const kept = await readFile(file, 'utf8')
    .then((text) => JSON.parse(text))
    .catch(() => undefined);
  if (kept !== undefined) return kept;
  const measured = await measure();
  await writeWhole(file, JSON.stringify(measured));
  return measured;
}

/** Size and time of every recording's file: what is in the cache was trained on these very files. */
async function fileStamps(set: RecordingSet): Promise<string[]> {
  const stamp = async (file: string) =>
    stat(join(set.folder, file)).then(
      ({ size, mtimeMs }) => `${size}@${mtimeMs}`,
      () => 'missing',
    );
  return Promise.all(set.recordings.map(({ file }) => stamp(file)));
}

/** What training reported of a cached bundle; undefined where there is none that can be used. */
async function cachedReport(bundleFolder: string, reportFile: string): Promise<Record<string, unknown> | undefined> {
  try {
    await readBundle(bundleFolder);
    return JSON.parse(await readFile(reportFile, 'utf8'));
  } catch {
    return undefined;
  }
}

/** Samples read at a time to find the largest. */
const SCALE_STRETCH = 4096;

/** One range for all, as one make of sensor has. */
export function scaleOf(recordings: readonly Recording[]): number {
  let largest = 1e-9;
  for (const { read, length } of recordings) {
    for (let at = 0; at < length; at += SCALE_STRETCH) {
      for (const value of read(at, Math.min(SCALE_STRETCH, length - at))) largest = Math.max(largest, Math.abs(value));
    }
  }
  return Math.fround(largest / 32_767);
}
