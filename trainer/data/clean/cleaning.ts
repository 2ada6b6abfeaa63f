/**
 * Three stages of cleaning: each looks at recordings or windows and writes a row for everything that it would take out, with the reason.
 * Nothing is changed or deleted by looking.
 */
export const STAGES = ['invalid', 'ambiguous', 'near-duplicate'] as const;
export type CleaningStage = (typeof STAGES)[number];

export interface CleaningRow {
  /** Index of the recording. */
  readonly recording: number;
  /** First sample of the window; null for the whole recording. */
  readonly start: number | null;
  readonly stage: CleaningStage;
  /** What is wrong, in a word. */
  readonly reason: string;
  /** The same for people, with the numbers. */
  readonly why: string;
}

/** How recordings are cut into windows. */
export interface Cut {
  readonly window: number;
  readonly stride: number;
}

/** Windows of recordings, without their samples. */
export interface CleaningWindows {
  /** Class index of each window. */
  readonly labels: Int32Array;
  /** Index of each window's recording. */
  readonly recordings: Int32Array;
  /** First sample of each window in its recording. */
  readonly starts: Int32Array;
  readonly count: number;
}

/** What cleaning would take out of one class, in windows; a window counts in the first stage that names it. */
export interface CleaningSummary {
  readonly label: string;
  readonly windows: number;
  readonly removed: Readonly<Record<CleaningStage, number>>;
  readonly kept: number;
}

/** A recording's class and where its windows begin. */
export interface CutRecording {
  readonly label: string | null;
  readonly starts: readonly number[];
}

export const className = (label: string | null) => label ?? 'unlabelled';

/** One line a class, in alphabetical order; recordings without a label under `unlabelled`. */
export function summarizeCleaning(rows: readonly CleaningRow[], recordings: readonly CutRecording[]): CleaningSummary[] {
  const stageOf = new Map<string, CleaningStage>();
  for (const stage of STAGES) {
    for (const row of rows) {
      if (row.stage !== stage) continue;
      for (const start of row.start === null ? recordings[row.recording].starts : [row.start]) {
        const key = `${row.recording}/${start}`;
        if (!stageOf.has(key)) stageOf.set(key, stage);
      }
    }
  }
  const summaries = new Map<string, { windows: number; removed: Record<CleaningStage, number> }>();
  recordings.forEach(({ label, starts }, index) => {
    const summary = summaries.get(className(label)) ?? { windows: 0, removed: { invalid: 0, ambiguous: 0, 'near-duplicate': 0 } };
    for (const start of starts) {
      summary.windows++;
      const stage = stageOf.get(`${index}/${start}`);
      if (stage) summary.removed[stage]++;
    }
    summaries.set(className(label), summary);
  });
  return [...summaries]
    .sort(([a], [b]) => (a < b ? -1 : 1))
    .map(([label, { windows, removed }]) => ({
      label,
      windows,
      removed,
      kept: windows - STAGES.reduce((sum, stage) => sum + removed[stage], 0),
    }));
}
