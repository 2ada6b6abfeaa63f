import { baselineName, bytes, count, isNumber, milliseconds, percent, points, times } from '../format.ts';
import { html, type Markup } from '../html.ts';
import type { ReportData, Scores } from '../report-data.ts';
import { funnelRows } from './funnel.ts';

const METRICS: Readonly<Record<keyof Scores, string>> = {
  accuracy: 'accuracy',
  balancedAccuracy: 'balanced accuracy',
  macroF1: 'macro-F1',
};

/** What bundle and baselines are compared by. */
export const gateMetric = ({ gate }: ReportData) => ({
  key: gate.metric ?? ('accuracy' as const),
  name: METRICS[gate.metric ?? 'accuracy'],
});

function bestBaseline(data: ReportData): { name: string; score: number } | undefined {
  const { key } = gateMetric(data);
  return Object.entries(data.baselines ?? {})
    .map(([name, scores]) => ({ name: baselineName(name), score: scores[key] }))
    .filter(({ score }) => isNumber(score))
    .sort((a, b) => b.score - a.score)[0];
}

/** `2.1 points above the best baseline (MiniRocket, 96.3 %)` */
function againstBaseline(data: ReportData): string {
  const best = bestBaseline(data);
  if (!best) return '';
  const distance = data.test[gateMetric(data).key] - best.score;
  const place = distance === 0 ? 'level with' : `${points(distance)} ${distance > 0 ? 'above' : 'below'}`;
  return `, ${place} the best baseline (${best.name}, ${percent(best.score)})`;
}

/** Gate, accuracy against the best baseline, size and speed. */
function verdictSentence(data: ReportData): string {
  const { gate, test } = data;
  const { key, name } = gateMetric(data);
  const why =
    gate.passed || gate.reasons.length === 0
      ? ''
      : gate.reasons.length === 1
        ? ` (${gate.reasons[0]})`
        : ` for the ${gate.reasons.length} reasons below`;
  const score =
    key === 'accuracy'
      ? `decides ${percent(test.accuracy)} of ${count(test.windows)} test windows right`
      : `has a ${name} of ${percent(test[key])} on ${count(test.windows)} test windows`;
  const int8 = funnelRows(data).find(({ network }) => network === 'int8');
  const cost = [
    isNumber(int8?.bytes) && `takes ${bytes(int8.bytes)}`,
    isNumber(int8?.latencyMs) && `needs ${milliseconds(int8.latencyMs)} a window`,
  ].filter(Boolean);
  return `The gate is ${gate.passed ? 'passed' : `not passed${why}`}${gate.passed ? ':' : ';'} the int8 student ${score}${againstBaseline(data)}${cost.length > 0 ? `; it ${cost.join(' and ')}` : ''}.`;
}

/** Whether a bundle is ready, and why or why not. @param listed reasons that the sentence does not say */
export function verdictSection({ passed }: ReportData['gate'], sentence: string, listed: readonly string[]): Markup {
  return html`<section id="verdict" class="verdict${passed ? '' : ' failed'}" aria-labelledby="verdict-title"><h2 id="verdict-title">${
    passed ? '✓ Ready to be sent to gateways' : '✗ Not to be sent to gateways as it is'
  }</h2><p>${sentence}</p>${listed.length > 0 && html`<ul>${listed.map((reason) => html`<li>${reason}</li>`)}</ul>`}</section>`;
}

export function verdict(data: ReportData): Markup {
  const { passed, reasons } = data.gate;
  // The sentence says a single reason itself.
  return verdictSection(data.gate, verdictSentence(data), !passed && reasons.length === 1 ? [] : reasons);
}

export interface Tile {
  readonly title: string;
  readonly value: string;
  readonly note?: string;
}

function tilesOf(data: ReportData): Tile[] {
  const { test, recall, classes } = data;
  const rows = funnelRows(data);
  const [teacher, int8] = ['teacher', 'int8'].map((name) => rows.find(({ network }) => network === name));
  const worst = (recall ?? [])
    .map((value, index) => ({ value, name: classes[index] }))
    .filter((one): one is { value: number; name: string } => isNumber(one.value))
    .sort((a, b) => a.value - b.value)[0];
  const ratio = (of: 'bytes' | 'latencyMs') =>
    isNumber(teacher?.[of]) && isNumber(int8?.[of]) && int8[of] > 0 ? teacher[of] / int8[of] : undefined;
  const [smaller, faster] = [ratio('bytes'), ratio('latencyMs')];
  const share = (title: string, value: number | undefined, note: string): Tile[] =>
    isNumber(value) ? [{ title, value: percent(value), note }] : [];
  return [
    ...share('Windows right', test.accuracy, `of ${count(test.windows)} in the test`),
    ...share('Votes of 8 right', test.vote8, 'eight windows in a row, about 2 s at 1 kHz'),
    ...share('Recordings right', test.recordingAccuracy, 'all windows of one together'),
    ...share('Hardest class', worst?.value, worst ? `found of ${worst.name}` : ''),
    ...share('False alarms', test.falseAlarmRate, 'of healthy decisions, smoothed'),
    ...share('Calibration error', test.ece, 'how far confidence is off'),
    ...(isNumber(int8?.bytes)
      ? [{ title: 'Model size', value: bytes(int8.bytes), note: smaller ? `1/${times(smaller)} of the teacher` : undefined }]
      : []),
    ...(isNumber(int8?.latencyMs)
      ? [{ title: 'Time a window', value: milliseconds(int8.latencyMs), note: faster ? `1/${times(faster)} of the teacher` : undefined }]
      : []),
  ];
}

export const tileList = (label: string, list: readonly Tile[]): Markup =>
  html`<ul class="tiles" aria-label="${label}">${list.map(
    ({ title, value, note }) => html`<li><span>${title}</span><b>${value}</b>${note && html`<small>${note}</small>`}</li>`,
  )}</ul>`;

/** The figures that are asked for first. */
export const tiles = (data: ReportData): Markup => tileList('Key figures of the int8 student', tilesOf(data));
