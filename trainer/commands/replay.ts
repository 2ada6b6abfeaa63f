import { resolve } from 'node:path';
import { fileURLToPath } from 'node:url';
import { ProgressBar } from '../io/progress.ts';
import { Refusal } from '../refusal.ts';
import { type Replay, replaySet } from '../replay/replay-set.ts';
import { type Command, choiceOption, textOption } from './command.ts';
import { channelsOption, chosenSet, rateOption, SELECTION_OPTIONS } from './selection.ts';

const { where, channels, rate, relabel } = SELECTION_OPTIONS;
const SHIPPED = fileURLToPath(new URL('../models/shipped/plant', import.meta.url));

/** Right decisions among windows whose label is a class of the bundle; null where there is none. */
function scores({ recordings }: Replay, classes: ReadonlySet<string>) {
  const byClass: Record<string, { judged: number; right: number; smoothedRight: number }> = {};
  for (const { entry, diagnoses } of recordings) {
    const { label } = entry;
    if (label === null || !classes.has(label)) continue;
    byClass[label] ??= { judged: 0, right: 0, smoothedRight: 0 };
    for (const { decision, smoothed } of diagnoses) {
      byClass[label].judged++;
      if (decision === label) byClass[label].right++;
      if (smoothed.decision === label) byClass[label].smoothedRight++;
    }
  }
  const counts = Object.values(byClass).filter(({ judged }) => judged > 0);
  const judged = counts.reduce((sum, one) => sum + one.judged, 0);
  const share = (of: (one: (typeof counts)[number]) => number) =>
    judged === 0 ? null : counts.reduce((sum, one) => sum + of(one), 0) / judged;
  return {
    judged,
    accuracy: share(({ right }) => right),
    balancedAccuracy: counts.length === 0 ? null : counts.reduce((sum, one) => sum + one.right / one.judged, 0) / counts.length,
    smoothedAccuracy: share(({ smoothedRight }) => smoothedRight),
    byClass,
  };
}

/** One line a recording: what it is, what most of its windows are, and how its alarm ended. */
function recordingLines({ recordings }: Replay): string[] {
  return recordings.map(({ entry, diagnoses }) => {
    const votes = new Map<string, number>();
    for (const { decision } of diagnoses) votes.set(decision, (votes.get(decision) ?? 0) + 1);
    const decisions = [...votes].sort((a, b) => b[1] - a[1]).map(([decision, count]) => `${decision} ${count}`);
    return `${entry.file}  ${entry.label ?? '-'}  ${decisions.slice(0, 3).join(', ') || 'shorter than a window'}  alarm ${diagnoses.at(-1)?.alarm ?? '-'}`;
  });
}

const percent = (value: number | null) => (value === null ? '-' : `${(100 * value).toFixed(1)} %`);

export const replay: Command = {
  verb: 'replay',
  summary: 'run recordings through the gateway as fast as it goes',
  help: `usage: tremolo replay SET [--bundle BUNDLE] [options]

Plays every recording as a stream of its own through the gateway's own rings, windows, model, smoothing and alarms, without a
broker: the decisions are those that the gateway would have published. Prints a line for each recording, accuracy against the
labels, and the ledger. Machines' references are made anew in each recording.

  --bundle FOLDER             the bundle that decides (default: the one for the simulated plant that the package ships)
  --where KEY=VALUE[,VALUE]   only recordings with that condition (repeatable)
  --channels A,B              only these channels
  --rate HZ                   resample every recording, band-limited
  --relabel PATTERN=CLASS     coarser classes, as in --relabel 'IR*=inner' (repeatable)
  --engine NAME               onnxruntime (default) or wasm

With --json, every window's decision is in the object.

example: tremolo simulate --out plant --machines 2 --seconds 4
         tremolo replay plant`,
  options: { where, channels, rate, relabel, bundle: { type: 'string' }, engine: { type: 'string' } },
  positionals: 1,
  async run(args, signal) {
    const [folder] = args.positionals;
    if (!folder) throw new Refusal('usage/arguments', 'name a recording set; see tremolo replay --help');
    const engine = choiceOption(args, 'engine', ['onnxruntime', 'wasm'] as const);
    const bundleFolder = resolve(textOption(args, 'bundle') ?? SHIPPED);
    const set = await chosenSet(folder, args);
    const bar = new ProgressBar('replay');
    const made = await replaySet(
      set,
      { bundleFolder, engine, programs: new URL('./', import.meta.url), channels: channelsOption(args), rateHz: rateOption(args) },
      (share) => bar.update(share),
      signal,
    );
    bar.done(`${made.signalSeconds.toFixed(0)} s of signal in ${made.seconds.toFixed(1)} s`);
    const { classes } = made;
    const figures = scores(made, new Set(classes));
    const { windowsExpected, windowsDecided, windowsRefused, samplesReceived } = made.ledger;
    const refused = Object.entries(windowsRefused).filter(([, count]) => count > 0);
    process.stdout.write(
      [
        ...recordingLines(made),
        `${figures.judged} of ${windowsDecided} windows have a known truth; decided right: ${percent(figures.accuracy)} (balanced ${percent(figures.balancedAccuracy)}, smoothed ${percent(figures.smoothedAccuracy)})`,
        `ledger: ${samplesReceived} samples a channel, ${windowsExpected} windows expected, ${windowsDecided} decided${refused.map(([cause, count]) => `, ${count} refused (${cause})`).join('')}`,
        '',
      ].join('\n'),
    );
    const decisions = made.recordings.map(({ entry, diagnoses }) => ({
      file: entry.file,
      label: entry.label,
      windows: diagnoses.map(({ endSequence, decision, confidence, smoothed, alarm, pValue }) => ({
        endSequence,
        decision,
        confidence,
        smoothed: smoothed.decision,
        alarm,
        ...(pValue !== undefined && { pValue }),
      })),
    }));
    const { ledger, status, framesRefused, signalSeconds, seconds } = made;
    return { ...figures, ledger, ...status, framesRefused, signalSeconds, seconds, decisions };
  },
};
