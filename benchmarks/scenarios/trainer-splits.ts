import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { openRecordingSet, parseCondition, select } from '../../trainer/data/recording-set.ts';
import { parseRelabel, relabelSet } from '../../trainer/data/relabel.ts';
import type { SplitRule } from '../../trainer/data/split.ts';
import { type PipelineResult, trainBundle } from '../../trainer/train/pipeline.ts';
import { DEFAULT_CHOICES, type PipelineChoices } from '../../trainer/train/settings.ts';
import type { Context, Measured, Scenario, Skipped, Target } from '../harness/scenario.ts';

const SEEDS = [1, 2, 3];

/** One training on a real set: what is chosen of it and how it is split. */
interface Job {
  readonly name: string;
  readonly where?: readonly string[];
  readonly split: SplitRule;
  readonly relabel?: readonly string[];
  readonly channels?: readonly string[];
}

const test = (text: string): SplitRule => ({ kind: 'condition', condition: parseCondition(text) });

/** Pruned and in int8, by the first recipe, which the choice takes on these sets. */
const WHOLE_LINE: PipelineChoices = { ...DEFAULT_CHOICES, choose: false, baselines: [], robustness: false };
/** The student on labels alone: a teacher of 1.3 M parameters for each of some eighty trainings would take half a day. */
const STUDENT_LINE: PipelineChoices = { ...WHOLE_LINE, teacher: false };

interface Row {
  readonly id: string;
  readonly what: string;
  readonly set: string;
  readonly jobs: readonly Job[];
  readonly figure: (jobs: readonly Figures[][]) => number;
  readonly target: Target;
  /** What is trained; the student on labels alone where absent. */
  readonly line?: PipelineChoices;
}

interface Figures {
  readonly accuracy: number;
  readonly balancedAccuracy: number;
  readonly macroF1: number;
  readonly vote8: number;
  readonly recordings: number;
  readonly ece: number;
  readonly falseAlarmRate: number | null;
  readonly recipe: string;
}

function figuresOf({ evaluation: { test: tested }, recipe }: PipelineResult): Figures {
  const { accuracy, balancedAccuracy, macroF1, vote8, recordingAccuracy, ece, falseAlarmRate } = tested;
  return { accuracy, balancedAccuracy, macroF1, vote8, recordings: recordingAccuracy, ece, falseAlarmRate, recipe };
}

/** Trains every job with every seed. */
async function trainJobs({ progress, quick }: Context, { set, jobs, line = STUDENT_LINE }: Row): Promise<Figures[][] | Skipped> {
  const { TREMOLO_DATA } = process.env;
  if (!TREMOLO_DATA) return { skipped: 'TREMOLO_DATA does not name the folder of the real recording sets' };
  const whole = await openRecordingSet(join(TREMOLO_DATA, set));
  const all: Figures[][] = [];
  for (const job of jobs) {
    const chosen = relabelSet(select(whole, (job.where ?? []).map(parseCondition)), (job.relabel ?? []).map(parseRelabel));
    const seeds: Figures[] = [];
    for (const seed of quick ? SEEDS.slice(0, 1) : SEEDS) {
      const folder = join(await mkdtemp(join(tmpdir(), 'tremolo-bench-')), 'bundle');
      const request = { name: job.name, split: job.split, channels: job.channels, choices: { ...line, seed } };
      const figures = figuresOf(await trainBundle(chosen, folder, request));
      await rm(folder, { recursive: true });
      seeds.push(figures);
      progress(`${job.name}, seed ${seed}: ${Object.values(figures).join(' ')}`);
    }
    all.push(seeds);
  }
  return all;
}

const mean = (values: readonly number[]) => values.reduce((a, b) => a + b, 0) / values.length;
const rounded = (value: number) => Number(value.toFixed(4));

/** Means over seeds of each job, and how the figure is made of them. */
async function measured(context: Context, row: Row): Promise<Measured | Skipped> {
  const made = await trainJobs(context, row);
  if ('skipped' in made) return made;
  const details: Record<string, string | number> = {};
  for (const [index, seeds] of made.entries()) {
    const over = (value: (one: Figures) => number) => rounded(mean(seeds.map(value)));
    const [accuracy, balanced, f1, voted] = [
      over((one) => one.accuracy),
      over((one) => one.balancedAccuracy),
      over((one) => one.macroF1),
      over((one) => one.vote8),
    ];
    details[row.jobs[index].name] =
      `${accuracy} (balanced ${balanced}, macro-F1 ${f1}, votes of 8 ${voted}, recordings ${over((one) => one.recordings)}, ECE ${over((one) => one.ece)}, false alarms ${over((one) => one.falseAlarmRate ?? Number.NaN)}; ${[...new Set(seeds.map(({ recipe }) => recipe))].join(' / ')})`;
  }
  return { figure: row.figure(made), samples: made.flat().length, details };
}

const meanOf = (value: (one: Figures) => number) => (jobs: readonly Figures[][]) => mean(jobs.map((seeds) => mean(seeds.map(value))));
const worstOf = (value: (one: Figures) => number) => (jobs: readonly Figures[][]) =>
  Math.min(...jobs.map((seeds) => mean(seeds.map(value))));

const CWRU = { where: ['role=main'], channels: ['DE'] };
const LOADS: Job[] = [0, 1, 2, 3].map((load) => ({ ...CWRU, name: `load ${load}`, split: test(`load_hp=${load}`) }));
const PAIRS: Job[] = (
  [
    [0, 1],
    [0, 2],
    [0, 3],
    [2, 0],
    [2, 1],
    [2, 3],
  ] as const
).map(([from, to]) => ({
  ...CWRU,
  name: `${from} -> ${to}`,
  where: [...CWRU.where, `load_hp=${from},${to}`],
  split: test(`load_hp=${to}`),
}));
const BLOCKS: Job[] = Array.from({ length: 10 }, (_, index) => ({
  name: `block ${index + 1}`,
  split: { kind: 'block', block: index + 1, of: 10 } as const,
}));

/** One mean of several figures of the same trainings: the trainer keeps its stages, so a second figure of them costs the evaluation alone. */
const ROWS: readonly Row[] = [
  {
    id: 'trainer.cwru12.load-out',
    what: 'cwru12, leave one load out, int8 student: worst of four loads, mean of 3 seeds',
    ...{ set: 'cwru12', jobs: LOADS, figure: worstOf((one) => one.accuracy), target: { atLeast: 0.998 } },
  },
  {
    id: 'trainer.cwru12.load3.teacher',
    what: 'cwru12, load 3 left out, the hardest of four, int8 student distilled from its teacher: mean of 3 seeds',
    ...{ set: 'cwru12', jobs: LOADS.slice(3), figure: worstOf((one) => one.accuracy), target: { atLeast: 0.998 }, line: WHOLE_LINE },
  },
  {
    id: 'trainer.cwru12.pairs',
    what: 'cwru12, one load to another, int8 student: windows, mean of six pairs and 3 seeds',
    ...{ set: 'cwru12', jobs: PAIRS, figure: meanOf((one) => one.accuracy), target: { atLeast: 0.98 } },
  },
  {
    id: 'trainer.cwru12.pairs.vote8',
    what: 'cwru12, one load to another, int8 student: votes of 8, mean of six pairs and 3 seeds',
    ...{ set: 'cwru12', jobs: PAIRS, figure: meanOf((one) => one.vote8), target: { atLeast: 0.99 } },
  },
  {
    id: 'trainer.uet.blocks',
    what: 'uet_motor1k, 10 blocks, int8 student: windows, mean of 3 seeds',
    ...{ set: 'uet_motor1k', jobs: BLOCKS, figure: meanOf((one) => one.accuracy), target: { atLeast: 0.97 } },
  },
  {
    id: 'trainer.uet.blocks.files',
    what: 'uet_motor1k, 10 blocks, int8 student: files, mean of 3 seeds',
    ...{ set: 'uet_motor1k', jobs: BLOCKS, figure: meanOf((one) => one.recordings), target: { atLeast: 0.98 } },
  },
  {
    id: 'trainer.uet.blocks.falseAlarms',
    what: 'uet_motor1k, 10 blocks, int8 student: false alarms after smoothing at 99 % fault recall on validation, mean of 3 seeds',
    ...{ set: 'uet_motor1k', jobs: BLOCKS, figure: meanOf((one) => one.falseAlarmRate ?? Number.NaN), target: { atMost: 0.012 } },
  },
];

export const TRAINER_SPLITS: readonly Scenario[] = ROWS.map((row) => ({
  ...{ id: row.id, what: row.what, unit: '', target: row.target },
  measure: (context) => measured(context, row),
}));
