import { createOnnxruntimeEngine } from '../../models/engine/onnxruntime-engine.ts';
import { type BundleEvaluation, evaluateBundle, type OnStage } from '../evaluate/evaluate-bundle.ts';
import { ProgressBar } from '../io/progress.ts';
import { Refusal } from '../refusal.ts';
import { type Command, numberOption, textOption } from './command.ts';
import { chosenSet, novelSet, referenceOption, SELECTION_HELP, SELECTION_OPTIONS, splitRuleOf } from './selection.ts';

/** A bar for every stage; the bar before it ends where the next begins. */
function stageBars(): { onStage: OnStage; end(): void } {
  let end = () => {};
  const onStage: OnStage = (title) => {
    end();
    const bar = new ProgressBar(title);
    const began = performance.now();
    end = () => bar.done(`${((performance.now() - began) / 1000).toFixed(1)} s`);
    return (share, note) => bar.update(share, note);
  };
  return { onStage, end: () => end() };
}

const share = (value: number | null, width = 10) => (value === null ? '-' : value.toFixed(3)).padStart(width);
const percent = (value: number) => `${(100 * value).toFixed(1)} %`;

const BASELINE_NAMES = { ridge: 'ridge on log spectrum', forest: 'random forest', minirocket: 'MiniRocket' };

/** Tier (a): decisions. */
function decisionLines({ test: own, baselines, by, classes, confusion, recall }: BundleEvaluation): string[] {
  type Row = { accuracy: number; balancedAccuracy: number; macroF1: number };
  const row = (name: string, { accuracy, balancedAccuracy, macroF1 }: Row) =>
    `  ${name.padEnd(24)}${share(accuracy)}${share(balancedAccuracy)}${share(macroF1)}`;
  const conditionRow = ({ value, windows, accuracy, balancedAccuracy, vote8 }: NonNullable<typeof by>[number]) =>
    `  ${`${value} (${windows})`.padEnd(24)}${share(accuracy)}${share(balancedAccuracy)}${share(vote8)}`;
  const wide = Math.max(...classes.map((name) => name.length)) + 2;
  const byClass = classes.flatMap((name, index) => {
    if (recall[index] === null) return [];
    const mistaken = confusion[index]
      .map((count, other) => ({ count, name: classes[other], other }))
      .filter(({ count, other }) => count > 0 && other !== index)
      .sort((a, b) => b.count - a.count)
      .slice(0, 3)
      .map(({ count, name: other }) => `${other} ${count}`);
    return [`  ${name.padEnd(wide)}${share(recall[index])}  ${mistaken.length > 0 ? `taken for ${mistaken.join(', ')}` : ''}`.trimEnd()];
  });
  return [
    'decisions                   accuracy  balanced  macro-F1',
    row('bundle', own),
    ...Object.entries(baselines ?? {}).map(([name, figures]) => row(BASELINE_NAMES[name as keyof typeof BASELINE_NAMES], figures)),
    `  by vote of 8 windows ${own.vote8.toFixed(3)}, by recording ${own.recordingAccuracy.toFixed(3)}, calibration error ${own.ece.toFixed(3)}`,
    `  false alarms at 99 % fault recall, smoothed: ${own.falseAlarmRate === null ? 'none to tell without healthy and faulty windows' : percent(own.falseAlarmRate)}`,
    ...(by ? ['', 'by condition                accuracy  balanced vote of 8', ...by.map(conditionRow)] : []),
    '',
    `${'class'.padEnd(wide + 2)}${'recall'.padStart(10)}`,
    ...byClass,
  ];
}

function noveltyLines({ novelty }: BundleEvaluation): string[] {
  if (!novelty) return [];
  const { threshold, share: allowed, knownWindows, novelWindows, falseAlarms, found, auroc } = novelty;
  const row = (name: string, windows: number, above: number | null) => `  ${`${name} (${windows})`.padEnd(24)}${share(above)}`;
  return [
    `novelty${' '.repeat(17)}above ${threshold.toFixed(2)}, meant for ${percent(allowed)} of known windows`,
    row('known', knownWindows, falseAlarms),
    ...(novelWindows > 0 ? [row('novel', novelWindows, found), `  AUROC                   ${share(auroc)}`] : []),
    '',
  ];
}

/** Tier (b): time. */
function timingLines({ timing: { runs, processing, firstResponse } }: BundleEvaluation): string[] {
  const ms = (value: number) => `${value.toFixed(2)} ms`.padStart(12);
  return [
    `time, ${runs} runs, one window       median         p99`,
    `  processing             ${ms(processing.medianMs)}${ms(processing.p99Ms)}`,
    `  first response         ${ms(firstResponse.medianMs)}${ms(firstResponse.p99Ms)}   (a window of ${firstResponse.windowMs.toFixed(1)} ms, then its processing)`,
  ];
}

/** Tier (c): what it withstands. */
function robustnessLines({ robustness, attacks, classes, reference }: BundleEvaluation): string[] {
  if (!robustness) return [];
  const unattacked = classes.includes('novel')
    ? 'a novelty bundle decides by distance'
    : reference
      ? 'their gradient knows no references'
      : 'the bundle has no float network; name the folder that tremolo train wrote';
  const points = robustness.flatMap((curve) => curve.points);
  const attacked = (attacks ?? []).flatMap((attack) => attack.points);
  return [
    '',
    'robustness                  accuracy  balanced',
    ...points.map(({ label, accuracy, balancedAccuracy }) => `  ${label.padEnd(24)}${share(accuracy)}${share(balancedAccuracy)}`),
    '',
    ...(attacks
      ? [
          'attacks                      success  accuracy',
          ...attacked.map((one) => `  ${one.label.padEnd(24)}${share(one.success)}${share(one.accuracy)}`),
        ]
      : [`attacks: left out, ${unattacked}`]),
  ];
}

export const evaluate: Command = {
  verb: 'evaluate',
  summary: 'measure a bundle on recordings: decisions, time, robustness',
  help: `usage: tremolo evaluate BUNDLE SET [options]

Measures the int8 graph of a bundle on all labelled recordings, or on the test part of a split: how right and how honest it decides, how fast,
and what noise, gain, speed, lost channels, clipping and attacks do to it. With a split, three baselines are fitted on its other parts. To a novelty
bundle, every label but that of its own recordings and normal is novel.

${SELECTION_HELP.replace(/\(none of these three: .*\)/, '(none of these three: on all labelled recordings, without baselines)')}
  --novel KEY=VALUE           recordings beside these that the bundle should find new: AUROC of its novelty score
  --by KEY                    figures for each value of a field
  --quick                     decisions and time only
  --no-baselines              leave the baselines out
  --seed N                    of noise, attacks and the forest (default 1)

example: tremolo simulate --out plant --machines 20 --seconds 10
         tremolo train plant --out bundle --group machine
         tremolo evaluate bundle plant --group machine`,
  options: {
    ...SELECTION_OPTIONS,
    novel: { type: 'string' },
    by: { type: 'string' },
    quick: { type: 'boolean' },
    'no-baselines': { type: 'boolean' },
    seed: { type: 'string' },
  },
  positionals: 2,
  async run(args, signal) {
    const [bundle, folder] = args.positionals;
    if (!bundle || !folder) throw new Refusal('usage/arguments', 'name a bundle and a recording set; see tremolo evaluate --help');
    const rule = splitRuleOf(args);
    const options = {
      split: rule.kind === 'recordings' ? undefined : rule,
      channels: textOption(args, 'channels')?.split(','),
      rateHz: textOption(args, 'rate') === undefined ? undefined : numberOption(args, 'rate', 0, { min: 1e-3, max: 1e9 }),
      quick: args.values.quick === true,
      baselines: args.values['no-baselines'] !== true,
      reference: referenceOption(args),
      by: textOption(args, 'by'),
      novel: await novelSet(folder, args),
      seed: numberOption(args, 'seed', 1, { max: 2 ** 32 - 1, whole: true }),
    };
    const set = await chosenSet(folder, args);
    const { onStage, end } = stageBars();
    const made = await evaluateBundle(await createOnnxruntimeEngine(), bundle, set, options, onStage, signal);
    end();
    if (made.warning) process.stderr.write(`warning: ${made.warning}\n`);
    process.stdout.write(
      [
        `${made.bundle.name} ${made.bundle.digest.slice(0, 12)} on ${made.set}, ${made.part}: ${made.recordings} recordings, ${made.test.windows} windows`,
        '',
        ...decisionLines(made),
        '',
        ...noveltyLines(made),
        ...timingLines(made),
        ...robustnessLines(made),
        '',
      ].join('\n'),
    );
    return { ...made };
  },
};
