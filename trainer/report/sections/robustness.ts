import { axisOver, type ChartPoint, legend, lineChart, roundTicks, SHARE_AXIS } from '../chart.ts';
import { capitalised, isNumber, percent } from '../format.ts';
import { html, type Markup } from '../html.ts';
import { figure, numbers, type Section, table } from '../parts.ts';
import type { ReportData, ReportRobustness } from '../report-data.ts';

const KINDS: Readonly<Record<string, readonly [title: string, what: string]>> = {
  noise: ['Noise', 'white noise so far below the signal (SNR)'],
  gain: ['Gain', 'every sample times a factor'],
  speed: ['Speed', 'the machine turns so many times as fast'],
  clipping: ['Clipping', 'the sensor ends at so many times the RMS'],
  'channel-loss': ['Channel loss', 'channels that fall silent'],
};

const headings = (kind: string) => (Object.hasOwn(KINDS, kind) ? KINDS[kind] : [capitalised(kind), '']);

/** Places side by side: decibels, factors and counts have no axis in common. */
function curve({ kind, points }: ReportRobustness, clean: number): Markup {
  const [title, what] = headings(kind);
  const worst = points.reduce((low, point) => (point.accuracy < low.accuracy ? point : low), points[0]);
  const at = (key: 'accuracy' | 'balancedAccuracy', name: string): ChartPoint[] =>
    points.flatMap((point, x) => {
      const y = point[key];
      return isNumber(y)
        ? [{ x, y, title: `${point.label}: ${percent(y)} ${name}`, label: key === 'accuracy' ? (100 * y).toFixed(0) : undefined }]
        : [];
    });
  return figure(
    html`${title}<small>${what}</small>`,
    lineChart({
      alternative: `${title}: accuracy from ${percent(points[0].accuracy)} at ${points[0].label}; lowest ${percent(worst.accuracy)} at ${worst.label}; ${percent(clean)} undisturbed`,
      x: { from: -0.4, to: points.length - 0.6, ticks: points.map(({ label }, x) => ({ at: x, label })) },
      y: SHARE_AXIS,
      reference: clean,
      series: [
        { look: 'second', points: at('balancedAccuracy', 'balanced accuracy') },
        { look: 'first', dots: true, points: at('accuracy', 'accuracy') },
      ],
    }),
  );
}

export function robustness({ robustness: kinds = [], test }: ReportData): Section | undefined {
  const shown = kinds.filter(({ points }) => points.length > 0);
  if (shown.length === 0) return undefined;
  return {
    id: 'robustness',
    title: 'Robustness',
    body: html`<p class="lead">The test windows again, disturbed as sensors and machines disturb them: accuracy in per cent.</p>${legend([
      ['first', 'accuracy'],
      ['second', 'balanced accuracy'],
      ['reference', `undisturbed, ${percent(test.accuracy)}`],
    ])}<div class="charts">${shown.map((one) => curve(one, test.accuracy))}</div>${numbers(
      table(
        'Every disturbance',
        [
          { title: 'Disturbance', head: true, cell: ({ kind, label }) => `${headings(kind)[0]}: ${label}` },
          { title: 'Accuracy', number: true, cell: ({ accuracy }) => percent(accuracy) },
          { title: 'Balanced accuracy', number: true, cell: ({ balancedAccuracy }) => percent(balancedAccuracy) },
        ],
        shown.flatMap(({ kind, points }) => points.map((point) => ({ kind, ...point }))),
      ),
    )}`,
  };
}

const LOOKS = { fgsm: 'second', pgd: 'first' } as const;

export function attacks({ attacks: given = [], attackUnit }: ReportData): Section | undefined {
  const shown = given.filter(({ points }) => points.length > 0);
  if (shown.length === 0) return undefined;
  const largest = Math.max(...shown.flatMap(({ points }) => points.map(({ epsilon }) => epsilon)));
  const budget = `budget ε${attackUnit ? ` (${attackUnit})` : ''}`;
  const name = (kind: string) => kind.toUpperCase();
  return {
    id: 'attacks',
    title: 'Adversarial attacks',
    body: html`<p class="lead">Share of the windows decided right that a change aimed at the network turns wrong, if no sample may change by more than the budget. FGSM takes one step, PGD searches for the worst.</p><div class="pair">${figure(
      'Success of the attack by budget',
      html`${lineChart({
        alternative: shown
          .map(
            ({ kind, points }) =>
              `${name(kind)} succeeds on ${percent(points[points.length - 1].success)} at a budget of ${points[points.length - 1].epsilon}`,
          )
          .join('; '),
        x: axisOver(roundTicks(0, largest, 5, String), budget),
        y: SHARE_AXIS,
        series: shown.map(({ kind, points }) => ({
          look: LOOKS[kind],
          dots: true,
          points: points.map(({ epsilon, success }) => ({
            x: epsilon,
            y: success,
            title: `${name(kind)}, ε ${epsilon}: ${percent(success)}`,
          })),
        })),
      })}${legend(shown.map(({ kind }) => [LOOKS[kind], name(kind)]))}`,
    )}<div>${table(
      'Every attack',
      [
        { title: 'Attack', head: true, cell: ({ kind }) => name(kind) },
        { title: 'Budget ε', number: true, cell: ({ epsilon }) => epsilon },
        { title: 'Success', number: true, cell: ({ success }) => percent(success) },
        { title: 'Accuracy left', number: true, cell: ({ accuracy }) => percent(accuracy) },
      ],
      shown.flatMap(({ kind, points }) => points.map((point) => ({ kind, ...point }))),
    )}</div></div>`,
  };
}
