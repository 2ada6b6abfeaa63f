import { isNumber } from './format.ts';
import { html, type Markup } from './html.ts';

const WIDTH = 360;
const MARGIN = { left: 44, right: 14, top: 16, bottom: 38 };
/** More points than a chart has room for only make the file longer. */
const MOST_POINTS = 180;
/** So many values can stand beside their dots without touching. */
const MOST_LABELS = 6;

export interface Tick {
  readonly at: number;
  readonly label: string;
}

export interface Axis {
  readonly from: number;
  readonly to: number;
  readonly ticks: readonly Tick[];
  readonly title?: string;
}

export interface ChartPoint {
  readonly x: number;
  readonly y: number;
  /** Shown while the pointer rests on the dot, and beside it where `labels` is set. */
  readonly title?: string;
  readonly label?: string;
}

export interface Series {
  /** Colour and dash. */
  readonly look: 'first' | 'second';
  readonly dots?: boolean;
  readonly points: readonly ChartPoint[];
}

export interface Chart {
  /** What the picture says, for who cannot see it. */
  readonly alternative: string;
  readonly x: Axis;
  readonly y: Axis;
  readonly series: readonly Series[];
  /** A dashed horizontal line. */
  readonly reference?: number;
  readonly height?: number;
}

/** Round numbers from `from` to at least `to`, about `wanted` of them. */
export function roundTicks(from: number, to: number, wanted: number, label: (value: number) => string): Tick[] {
  const rough = (to - from) / wanted || 1;
  const power = 10 ** Math.floor(Math.log10(rough));
  const step = power * ([1, 2, 5].find((factor) => factor * power >= rough * 0.999) ?? 10);
  const first = Math.floor(from / step + 1e-9);
  const last = Math.max(first + 1, Math.ceil(to / step - 1e-9));
  return Array.from({ length: last - first + 1 }, (_, index) => Number(((first + index) * step).toPrecision(12))).map((at) => ({
    at,
    label: label(at),
  }));
}

/** Ticks at 0, 25, 50, 75 and 100 %. */
export const SHARE_AXIS: Axis = { from: 0, to: 1, ticks: [0, 0.25, 0.5, 0.75, 1].map((at) => ({ at, label: `${100 * at} %` })) };

/** An axis over its own round ticks. */
export const axisOver = (ticks: readonly Tick[], title?: string): Axis => ({
  from: ticks[0].at,
  to: ticks[ticks.length - 1].at,
  ticks,
  title,
});

function thinned(points: readonly ChartPoint[]): ChartPoint[] {
  const finite = points.filter(({ x, y }) => isNumber(x) && isNumber(y));
  if (finite.length <= MOST_POINTS) return finite;
  return Array.from({ length: MOST_POINTS }, (_, index) => finite[Math.round((index * (finite.length - 1)) / (MOST_POINTS - 1))]);
}

const short = (value: number) => Number(value.toFixed(1));

/** Maps values to the picture's units. */
export function scales({ x, y }: Pick<Chart, 'x' | 'y'>, height: number) {
  const along = (value: number, { from, to }: Axis) => (Math.max(from, Math.min(to, value)) - from) / (to - from || 1);
  return {
    px: (value: number) => short(MARGIN.left + along(value, x) * (WIDTH - MARGIN.left - MARGIN.right)),
    py: (value: number) => short(height - MARGIN.bottom - along(value, y) * (height - MARGIN.top - MARGIN.bottom)),
  };
}

/** Grid, ticks and titles of both axes. */
export function frame({ x, y }: Pick<Chart, 'x' | 'y'>, height: number): Markup {
  const { px, py } = scales({ x, y }, height);
  const [left, right, bottom] = [MARGIN.left, WIDTH - MARGIN.right, height - MARGIN.bottom];
  return html`${y.ticks.map(
    ({ at, label }) =>
      html`<line class="grid" x1="${left}" x2="${right}" y1="${py(at)}" y2="${py(at)}"/><text class="tick" x="${left - 6}" y="${py(at) + 4}" text-anchor="end">${label}</text>`,
  )}${x.ticks.map(
    ({ at, label }) =>
      html`<line class="grid" x1="${px(at)}" x2="${px(at)}" y1="${bottom}" y2="${bottom + 4}"/><text class="tick" x="${px(at)}" y="${bottom + 16}" text-anchor="middle">${label}</text>`,
  )}${y.title && html`<text class="axis" x="2" y="9">${y.title}</text>`}${
    x.title && html`<text class="axis" x="${(left + right) / 2}" y="${height - 5}" text-anchor="middle">${x.title}</text>`
  }`;
}

/** The picture around what is drawn. */
export const picture = (alternative: string, height: number, content: Markup): Markup =>
  html`<svg class="chart" viewBox="0 0 ${WIDTH} ${height}" role="img" aria-label="${alternative}">${content}</svg>`;

export function lineChart({ alternative, x, y, series, reference, height = 210 }: Chart): Markup {
  const { px, py } = scales({ x, y }, height);
  const lines = series.map(({ look, dots, points }) => {
    const shown = thinned(points);
    const path = shown.map((point, index) => `${index === 0 ? 'M' : 'L'}${px(point.x)} ${py(point.y)}`).join('');
    return html`<path class="line ${look}" d="${path}"/>${
      (dots || shown.length === 1) &&
      shown.map(
        (point) =>
          html`<circle class="dot ${look}" cx="${px(point.x)}" cy="${py(point.y)}" r="3.5">${point.title && html`<title>${point.title}</title>`}</circle>${
            point.label &&
            shown.length <= MOST_LABELS &&
            html`<text class="value" x="${px(point.x)}" y="${labelBeside(py(point.y))}" text-anchor="middle">${point.label}</text>`
          }`,
      )
    }`;
  });
  const mark =
    isNumber(reference) &&
    html`<line class="reference" x1="${MARGIN.left}" x2="${WIDTH - MARGIN.right}" y1="${py(reference)}" y2="${py(reference)}"/>`;
  return picture(alternative, height, html`${frame({ x, y }, height)}${mark}${lines}`);
}

/** Below the dot where there is no room above it. */
const labelBeside = (y: number) => (y - 8 < MARGIN.top + 4 ? y + 17 : y - 8);

/** Names the lines of a chart, and its reference. */
export const legend = (entries: readonly (readonly [look: string, name: string])[]): Markup =>
  html`<ul class="legend">${entries.map(([look, name]) => html`<li><svg viewBox="0 0 22 8" aria-hidden="true"><path class="line ${look}" d="M0 4H22"/></svg>${name}</li>`)}</ul>`;
