import { metricsOf } from '../../../trainer/evaluate/metrics.ts';
import type { ReportCurve, ReportData, Scores } from '../../../trainer/report/report-data.ts';

/** Numbers that look drawn and are the same every time. */
const wave = (index: number) => Math.abs(Math.sin(12.9898 * (index + 1)) * 43758.5453) % 1;

/** Confusion with about `errors` of each row beside the diagonal, most of it on the neighbour. */
function confusionOf(classes: number, row: number, errors: number): number[][] {
  return Array.from({ length: classes }, (_, actual) => {
    const wrong = Math.round(row * errors * (0.3 + 1.4 * wave(actual)));
    const cells = new Array<number>(classes).fill(0);
    cells[actual] = row - wrong;
    cells[(actual + 1) % classes] += Math.ceil(0.7 * wrong);
    cells[(actual + 4) % classes] += wrong - Math.ceil(0.7 * wrong);
    return cells;
  });
}

function scoresOf(confusion: readonly (readonly number[])[]) {
  const labels: number[] = [];
  const decided: number[] = [];
  confusion.forEach((row, actual) => {
    row.forEach((cell, column) => {
      for (let index = 0; index < cell; index++) {
        labels.push(actual);
        decided.push(column);
      }
    });
  });
  const { windows, accuracy, balancedAccuracy, macroF1 } = metricsOf(labels, decided, confusion.length);
  return { windows, accuracy, balancedAccuracy, macroF1 };
}

const recallOf = (confusion: readonly (readonly number[])[]) => confusion.map((row, index) => row[index] / row.reduce((a, b) => a + b, 0));

function curve(name: string, steps: number, from: number, to: number): ReportCurve {
  const at = (step: number) => Math.exp((-5 * step) / steps);
  return {
    name,
    points: Array.from({ length: steps / 10 }, (_, index) => {
      const step = 10 * (index + 1);
      const measured = step % 100 === 0;
      return {
        step,
        loss: to + (from - to) * at(step) * (0.85 + 0.3 * wave(index)) + 0.04 * wave(index + 7),
        validationLoss: measured ? to + 0.06 + (from - to) * at(step) : undefined,
        validationAccuracy: measured ? 0.986 - 0.75 * at(1.4 * step) - 0.006 * wave(index) : undefined,
      };
    }),
  };
}

const less = ({ accuracy, balancedAccuracy, macroF1 }: Scores, by: number): Scores => ({
  accuracy: accuracy - by,
  balancedAccuracy: balancedAccuracy - by,
  macroF1: macroF1 - 1.1 * by,
});

const BEARING_CLASSES = ['B007', 'B014', 'B021', 'B028', 'IR007', 'IR014', 'IR021', 'IR028', 'normal', 'OR007', 'OR014', 'OR021'];
const bearingConfusion = confusionOf(12, 466, 0.012);
const bearingTest = scoresOf(bearingConfusion);
const { accuracy } = bearingTest;

/** What a run on twelve bearing conditions with one load held out looks like. */
export const BEARINGS: ReportData = {
  name: 'bearings-load3',
  set: 'cwru12',
  split: 'load_hp=3 is the test, 12 recordings of 48',
  validation: 'the last 15 % of every training recording, after a gap of one window',
  seed: 1,
  seconds: 583.4,
  madeOn: { cpu: 'Intel Xeon, 2 cores', node: '20.20.2', date: '2026-11-22' },
  digest: '3b1f0c4e9d5a7b26c8d1e0f4a39b7c5d2e6f8091a4b3c7d5e9f01b2a3c4d5e6f',
  settings: { where: 'role=main', channels: 'DE', test: 'load_hp=3', budget: '8m', 'learning rate': 0.002, batch: 64 },
  classes: BEARING_CLASSES,
  params: { teacher: 1_212_428, student: 104_820, pruned: 81_164 },
  bytes: { teacherFp32: 4_871_220, studentFp32: 431_906, prunedFp32: 337_410, int8: 118_204, bundle: 196_340 },
  stages: [
    { name: 'data', status: 'done', seconds: 3.1, note: '48 recordings, 27 960 windows' },
    { name: 'clean', status: 'cached', seconds: 0 },
    {
      name: 'teacher',
      network: 'teacher',
      status: 'done',
      seconds: 312,
      accuracy: accuracy + 0.0021,
      balancedAccuracy: accuracy + 0.0019,
      params: 1_212_428,
      bytes: 4_871_220,
      latencyMs: 6.42,
      note: 'stopped early after 3 epochs without a better one',
    },
    {
      name: 'student',
      network: 'student',
      status: 'done',
      seconds: 148,
      accuracy: accuracy + 0.0012,
      balancedAccuracy: accuracy + 0.001,
      params: 104_820,
      bytes: 431_906,
      latencyMs: 0.71,
    },
    {
      name: 'prune',
      network: 'pruned',
      status: 'done',
      seconds: 61,
      accuracy: accuracy + 0.0007,
      balancedAccuracy: accuracy + 0.0009,
      params: 81_164,
      bytes: 337_410,
      latencyMs: 0.52,
    },
    {
      name: 'sparsity',
      network: 'pruned',
      status: 'taken back',
      seconds: 9.7,
      accuracy: accuracy - 0.011,
      balancedAccuracy: accuracy - 0.013,
      note: 'cost 1.2 points, 0.5 are allowed',
    },
    {
      name: 'int8',
      network: 'int8',
      status: 'done',
      seconds: 12.4,
      accuracy,
      balancedAccuracy: bearingTest.balancedAccuracy,
      params: 81_164,
      bytes: 118_204,
      latencyMs: 0.38,
    },
    { name: 'evaluate', status: 'done', seconds: 37 },
  ],
  stagesMeasuredOn: 'test',
  test: { ...bearingTest, recordingAccuracy: 1, vote8: 0.9986, ece: 0.0093, falseAlarmRate: 0.0043 },
  confusion: bearingConfusion,
  recall: recallOf(bearingConfusion),
  reliability: {
    temperature: 1.62,
    eceBefore: 0.0312,
    eceAfter: 0.0093,
    bins: Array.from({ length: 15 }, (_, bin) => {
      const [from, to] = [bin / 15, (bin + 1) / 15];
      const confidence = (from + to) / 2 + 0.01 * (wave(bin) - 0.5);
      const count = bin < 3 ? 0 : Math.round(4 + 20 * wave(bin) + (bin === 14 ? 5100 : bin === 13 ? 260 : 0));
      const accuracy = count === 0 ? 0 : Math.min(1, Math.max(0, confidence + (bin > 12 ? 0.008 : 0.22) * (wave(bin + 3) - 0.55)));
      return { from, to, count, confidence: count === 0 ? 0 : bin === 14 ? 0.992 : confidence, accuracy };
    }),
  },
  robustness: [
    { kind: 'noise', points: drop(accuracy, [30, 20, 10, 5, 0], [0, 0.004, 0.06, 0.19, 0.44], (level) => `${level} dB`) },
    { kind: 'gain', points: drop(accuracy, [0.25, 0.5, 2, 4], [0.004, 0.001, 0.001, 0.006], (level) => `× ${level}`) },
    {
      kind: 'speed',
      points: drop(accuracy, [0.9, 0.95, 0.98, 1.02, 1.05, 1.1], [0.21, 0.08, 0.01, 0.01, 0.07, 0.24], (level) => `× ${level}`),
    },
    { kind: 'clipping', points: drop(accuracy, [3, 2, 1.5, 1], [0.002, 0.01, 0.04, 0.17], (level) => `${level} RMS`) },
    { kind: 'channel-loss', points: drop(accuracy, [1], [0.36], (level) => `${level} channel`) },
  ],
  attacks: (['fgsm', 'pgd'] as const).map((kind) => ({
    kind,
    points: [0.005, 0.01, 0.02, 0.05, 0.1].map((epsilon) => {
      const success = 1 - Math.exp(-epsilon * (kind === 'pgd' ? 34 : 17));
      return { epsilon, success, accuracy: accuracy * (1 - success) };
    }),
  })),
  attackUnit: 'RMS of the channel',
  curves: [curve('teacher', 3000, 2.6, 0.08), curve('student', 2500, 2.5, 0.12), curve('pruned', 600, 0.5, 0.13)],
  data: BEARING_CLASSES.map((label) => ({ label, train: 3, validation: 3, test: 1 })),
  cleaning: [
    { label: 'B007', stage: 'invalid', windows: 4, share: 0.0017 },
    { label: 'B007', stage: 'ambiguous', windows: 61, share: 0.026 },
    { label: 'IR028', stage: 'invalid', windows: 12, share: 0.005 },
    { label: 'normal', stage: 'near-duplicate', windows: 140, share: 0.06 },
  ],
  baselines: { ridge: less(bearingTest, 0.029), forest: less(bearingTest, 0.0131), minirocket: less(bearingTest, 0.0064) },
  gate: { passed: true, reasons: [] },
};

function drop(clean: number, levels: number[], drops: number[], label: (level: number) => string) {
  return levels.map((level, index) => ({
    label: label(level),
    level,
    accuracy: clean - drops[index],
    balancedAccuracy: clean - 1.12 * drops[index] - 0.01,
  }));
}

const motorConfusion = [
  [412, 38],
  [3, 447],
];
const motorTest = scoresOf(motorConfusion);

/** Two classes, little measured, gate failed for one reason. */
export const MOTOR: ReportData = {
  name: 'motor',
  set: 'uet_motor1k',
  classes: ['normal', 'outer race'],
  bytes: { int8: 98_311 },
  test: { ...motorTest, falseAlarmRate: Number.NaN },
  confusion: motorConfusion,
  recall: recallOf(motorConfusion),
  robustness: [{ kind: 'noise', points: drop(motorTest.accuracy, [20, 10], [0.01, 0.2], (level) => `${level} dB`) }],
  cleaning: [],
  baselines: { ridge: less(motorTest, -0.012) },
  gate: { passed: false, reasons: ['the ridge is 1.2 points better on the test windows'] },
};

const LONG_CLASSES = [
  'normal operation at full load after the seal was replaced in spring',
  '<script>document.title="stolen"</script>',
  'outer_race_fault_drive_end_bearing_0.021_inch_orthogonal_position',
  'Wälzlagerschaden Innenring (Lager 2, Antriebsseite) & Unwucht',
  'imbalance "heavy"',
  "misalignment of the coupling's hub",
  'looseness',
  'cavitation in the pump at low suction pressure',
  'belt slip',
  '軸受外輪損傷',
  'gear tooth broken',
  'rotor bar',
  'unseen in the test',
];
const longConfusion = confusionOf(13, 128_450, 0.31).map((row, index) => (index === 12 ? row.map(() => 0) : row));
const longTest = scoresOf(longConfusion.map((row) => row.map((cell) => Math.round(cell / 100))));

/** Thirteen classes with names as folders have them, large counts, bad results, and a gate failed for many reasons. */
export const EXTREME: ReportData = {
  ...BEARINGS,
  name: 'a-bundle-with-a-name-that-somebody-typed-with-every-condition-in-it_and-no-space_2026-11-22_final_v2',
  set: 'plant <north> & south',
  classes: LONG_CLASSES,
  confusion: longConfusion,
  recall: recallOf(longConfusion).map((value) => (Number.isFinite(value) ? value : null)),
  test: { ...longTest, windows: 1_541_400, recordingAccuracy: 0.81, vote8: 0.77, ece: 0.121, falseAlarmRate: 0.19 },
  stages: BEARINGS.stages?.map((stage) => ({
    ...stage,
    name: `${stage.name} of the drive end and the fan end together`,
    bytes: stage.bytes && 11 * stage.bytes,
    params: stage.params && 11 * stage.params,
    note: stage.note ?? 'https://example.org/a/very/long/path/without/any/space/that/somebody/wrote/as/a/note/for/this/stage',
  })),
  bytes: { bundle: 2_140_031 },
  params: {},
  reliability: { ...BEARINGS.reliability!, temperature: 0.71, eceBefore: 0.09, eceAfter: 0.121 },
  robustness: BEARINGS.robustness?.map((one) => ({
    ...one,
    points: one.points.map((point) => ({ ...point, accuracy: 0.6 * point.accuracy, balancedAccuracy: 0.5 * point.balancedAccuracy! })),
  })),
  data: LONG_CLASSES.map((label, index) => ({ label, train: 14_000 + index, validation: 3000, test: index === 12 ? 0 : 3000 })),
  cleaning: LONG_CLASSES.map((label, index) => ({ label, stage: 'near-duplicate', windows: 31_000 * index, share: 0.07 * index })),
  baselines: {
    ridge: less(longTest, 0.04),
    forest: less(longTest, -0.061),
    minirocket: less(longTest, -0.02),
    '<b>own</b>': less(longTest, 0.2),
  },
  gate: {
    passed: false,
    reasons: [
      'the random forest is 6.1 points better in balanced accuracy',
      'shrinking cost 1.9 points, 0.5 are allowed',
      'a window takes 3.8 ms, 2.0 ms are allowed',
    ],
    metric: 'balancedAccuracy',
  },
};
