import { frame, legend, picture, SHARE_AXIS, scales } from '../chart.ts';
import { count, percent, points } from '../format.ts';
import { html } from '../html.ts';
import { figure, numbers, type Section, table } from '../parts.ts';
import type { ReportData, ReportReliability } from '../report-data.ts';

const HEIGHT = 300;
const STRIP = 60;
/** Bins with a smaller share of the windows say little and are drawn pale. */
const FEW = 0.01;

function diagram({ bins, eceAfter }: ReportReliability) {
  const x = { ...SHARE_AXIS, title: 'how sure the network says it is' };
  const axes = { x, y: { ...SHARE_AXIS, title: 'how often it is right' } };
  const { px, py } = scales(axes, HEIGHT);
  const total = bins.reduce((all, bin) => all + bin.count, 0);
  const most = Math.max(1, ...bins.map((bin) => bin.count));
  const filled = bins.filter((bin) => bin.count > 0);
  const title = (bin: ReportReliability['bins'][number]) =>
    `${count(bin.count)} windows: ${percent(bin.confidence)} sure, ${percent(bin.accuracy)} right`;
  return picture(
    `Reliability diagram of ${filled.length} bins of confidence; calibration error ${percent(eceAfter)}`,
    HEIGHT + STRIP,
    html`${frame(axes, HEIGHT)}${filled.map(
      (bin) =>
        html`<rect class="bin${bin.count < FEW * total ? ' few' : ''}" x="${px(bin.from) + 1}" width="${Math.max(1, px(bin.to) - px(bin.from) - 2).toFixed(1)}" y="${py(bin.accuracy)}" height="${(py(0) - py(bin.accuracy)).toFixed(1)}"><title>${title(bin)}</title></rect>`,
    )}<path class="reference" d="M${px(0)} ${py(0)}L${px(1)} ${py(1)}"/>${filled.map(
      (bin) =>
        html`<circle class="dot first" cx="${px(bin.confidence)}" cy="${py(bin.accuracy)}" r="${bin.count < FEW * total ? 2.5 : 4}"><title>${title(bin)}</title></circle>`,
    )}${filled.map((bin) => {
      const height = Math.max(1, (bin.count / most) * (STRIP - 18));
      return html`<rect class="mass" x="${px(bin.from) + 1}" width="${Math.max(1, px(bin.to) - px(bin.from) - 2).toFixed(1)}" y="${(HEIGHT + STRIP - 12 - height).toFixed(1)}" height="${height.toFixed(1)}"><title>${title(bin)}</title></rect>`;
    })}<text class="axis" x="${px(0.5)}" y="${HEIGHT + STRIP}" text-anchor="middle">how many windows</text>`,
  );
}

export function reliability({ reliability: given }: ReportData): Section | undefined {
  if (!given) return undefined;
  const { temperature, eceBefore, eceAfter, bins } = given;
  const change = eceAfter < eceBefore ? 'less' : 'more';
  return {
    id: 'confidence',
    title: 'Calibration',
    body: html`<p class="lead">Of the windows that the network is 90 % sure of, 90 % should be right. The calibration error (ECE) is how far it is off in the mean.</p><div class="pair">${figure(
      html`Reliability diagram<small>after temperature scaling</small>`,
      html`${diagram(given)}${legend([
        ['reference', 'as it should be'],
      ])}<p class="note">Bars and dots on the dotted line: confidence is right. Below it: too sure. Pale: fewer than ${percent(FEW)} of the windows.</p>`,
    )}<div>${table(
      'Temperature scaling divides the logits by one number, fitted on validation windows',
      [
        { title: '', head: true, cell: ([name]) => name },
        { title: 'Temperature', number: true, cell: ([, value]) => value.toFixed(2) },
        { title: 'ECE', number: true, cell: ([, , value]) => percent(value) },
      ],
      [
        ['before', 1, eceBefore],
        ['after', temperature, eceAfter],
      ] as [string, number, number][],
    )}<p class="note">${
      temperature >= 1
        ? 'Above 1 the network was too sure of itself, and now says so.'
        : 'Below 1 the network was less sure than it could be.'
    } The error is ${points(eceAfter - eceBefore)} ${change}.</p>${numbers(
      table(
        'Windows by confidence',
        [
          { title: 'Confidence', head: true, cell: ({ from, to }) => `${(100 * from).toFixed(0)}–${(100 * to).toFixed(0)} %` },
          { title: 'Windows', number: true, cell: (bin) => count(bin.count) },
          { title: 'Sure', number: true, cell: (bin) => percent(bin.confidence) },
          { title: 'Right', number: true, cell: (bin) => percent(bin.accuracy) },
        ],
        bins.filter((bin) => bin.count > 0),
      ),
    )}</div></div>`,
  };
}
