import { type Axis, axisOver, type ChartPoint, legend, lineChart, roundTicks, type Tick } from '../chart.ts';
import { capitalised, count, isNumber, percent } from '../format.ts';
import { html, type Markup } from '../html.ts';
import { figure, type Section } from '../parts.ts';
import type { ReportCurve, ReportData } from '../report-data.ts';

type Value = Exclude<keyof ReportCurve['points'][number], 'step'>;

const valuesOf = ({ points }: ReportCurve, key: Value): ChartPoint[] =>
  points.flatMap((point) => {
    const y = point[key];
    return isNumber(y) ? [{ x: point.step, y }] : [];
  });

function stepAxis({ points }: ReportCurve): Axis {
  const to = Math.max(1, ...points.map(({ step }) => step));
  return { from: 0, to, ticks: roundTicks(0, to, 4, count).filter(({ at }) => at <= to), title: 'step' };
}

const plain = (value: number) => String(Number(value.toPrecision(3)));

/** From a round share below the lowest value up to 100 %. */
function accuracyTicks(values: readonly number[]): Tick[] {
  const from = [0.98, 0.95, 0.9, 0.8, 0.5].find((share) => share <= Math.min(...values)) ?? 0;
  return roundTicks(from, 1, 4, (value) => `${plain(100 * value)} %`);
}

function charts(curve: ReportCurve): Markup[] {
  const [loss, validationLoss, accuracy] = (['loss', 'validationLoss', 'validationAccuracy'] as const).map((key) => valuesOf(curve, key));
  const losses = [...loss, ...validationLoss].map(({ y }) => y);
  const name = capitalised(curve.name);
  const made: Markup[] = [];
  if (losses.length > 0) {
    const last = [...loss, ...validationLoss.slice(0, loss.length > 0 ? 0 : undefined)].at(-1)!;
    made.push(
      figure(
        `${name}: loss`,
        lineChart({
          alternative: `${name}: loss by step, ${plain(last.y)} at step ${last.x}`,
          x: stepAxis(curve),
          y: axisOver(roundTicks(Math.min(0, ...losses), Math.max(...losses), 4, plain)),
          series: [
            { look: 'first', points: loss },
            { look: 'second', points: validationLoss },
          ],
        }),
      ),
    );
  }
  if (accuracy.length > 0) {
    const best = accuracy.reduce((high, point) => (point.y > high.y ? point : high));
    made.push(
      figure(
        `${name}: validation accuracy`,
        lineChart({
          alternative: `${name}: validation accuracy by step, best ${percent(best.y)} at step ${best.x}`,
          x: stepAxis(curve),
          y: axisOver(accuracyTicks(accuracy.map(({ y }) => y))),
          series: [{ look: 'second', points: accuracy }],
        }),
      ),
    );
  }
  return made;
}

export function training({ curves = [] }: ReportData): Section | undefined {
  const made = curves.flatMap(charts);
  if (made.length === 0) return undefined;
  return {
    id: 'training',
    title: 'Training',
    body: html`${legend([
      ['first', 'training'],
      ['second', 'validation'],
    ])}<div class="charts">${made}</div>`,
  };
}
