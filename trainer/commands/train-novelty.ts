import type { NoveltyResult } from '../train/novelty-pipeline.ts';
import { kilobytes, percent, stageTable } from './stage-table.ts';

/** What a training on one class reached, for people. */
export function noveltyLines(result: NoveltyResult, out: string): string[] {
  const { known, split, validation, recordings, windows, stages, novelty, falseAlarms, bytes, latencyMs, gate, bundle } = result;
  const side = (name: keyof typeof recordings, what: string) =>
    `  ${name.padEnd(12)}${String(recordings[name]).padStart(10)}${String(windows[name]).padStart(10)}  ${what}`;
  const found =
    novelty.auroc === undefined
      ? []
      : [`novel recordings: ${percent(novelty.found)} of their windows found, AUROC ${novelty.auroc.toFixed(4)}`];
  return [
    `${known} and everything else: ${split} (${validation})`,
    ...stageTable(stages),
    '',
    `  ${''.padEnd(12)}recordings   windows`,
    side('train', 'where healthy windows lie'),
    side('validation', `a score above ${novelty.threshold.toFixed(2)} is novel: ${percent(novelty.share)} of these at most`),
    side('test', `called novel: ${percent(falseAlarms.windows)}, smoothed over 8 windows ${percent(falseAlarms.smoothed)}`),
    ...found,
    `${kilobytes(bytes.bundle)} travel to a gateway; one window takes ${latencyMs.toFixed(2)} ms`,
    gate.passed ? 'gate: passed' : `gate: NOT passed: ${gate.reasons.join('; ')}`,
    `bundle ${bundle.digest.slice(0, 12)} written to ${out}, the report is ${out}/report.html; hold it against faults with: tremolo evaluate ${out} SET`,
  ];
}

/** What `--json` prints of it. */
export function noveltyReport({ bundle, ...result }: NoveltyResult): Record<string, unknown> {
  return { kind: 'novelty', classes: bundle.manifest.classes, ...result, digest: bundle.digest };
}
