import { readFile } from 'node:fs/promises';
import { html, Markup } from '../../trainer/report/html.ts';
import { renderDocument, renderSection } from '../../trainer/report/page.ts';
import type { Section } from '../../trainer/report/parts.ts';

/** A picture of lines: uPlot draws it in the reader's browser. */
export interface LinePicture {
  readonly id: string;
  readonly title: string;
  /** One sentence below the title: what is seen, and what is good. */
  readonly lead: string;
  readonly x: { readonly label: string; readonly values: readonly number[]; readonly logarithmic?: boolean };
  readonly y: { readonly label: string; readonly logarithmic?: boolean };
  readonly lines: readonly {
    readonly label: string;
    readonly values: readonly (number | null)[];
    /** `dots` are not joined; a `bound` is what the others are held against. */
    readonly look?: 'dots' | 'bound';
  }[];
}

export interface BenchPage {
  readonly title: string;
  readonly about: string;
  readonly disturbed: readonly string[];
  readonly verdict?: { readonly sentence: string; readonly why: readonly string[] };
  readonly pictures: readonly LinePicture[];
  /** Further sections: tables, the device. */
  readonly sections: readonly Section[];
}

/** uPlot's script and style as the build laid them beside the programs. */
export async function plotAssets(programs: URL): Promise<{ script: string; style: string }> {
  const [script, style] = await Promise.all(['uplot.txt', 'uplot.css'].map((name) => readFile(new URL(name, programs), 'utf8')));
  return { script, style };
}

/** Nothing is loaded: script, style and data lie in the page. */
const POLICY = "default-src 'none'; style-src 'unsafe-inline'; script-src 'unsafe-inline'; img-src data:";

/** Draws every picture of the page. Runs in the browser; colours are told apart in both schemes and by readers who see no red. */
const DRAW = `
const dark = matchMedia('(prefers-color-scheme: dark)').matches;
const colours = dark ? ['#6fb1ff','#f3a15c','#5fd08f','#e38ad6','#c9c46a','#8fd7d2','#b6a4ff','#ff8f86']
  : ['#1d63c4','#b4530a','#14713f','#96308a','#7a6a00','#0b7a80','#5b3fc4','#b3261e'];
const ink = getComputedStyle(document.documentElement).getPropertyValue('--muted');
const line = getComputedStyle(document.documentElement).getPropertyValue('--line');
const number = (value) => value == null ? '–' : value >= 1000 ? Math.round(value).toLocaleString('en') : String(Number(value.toPrecision(3)));
const axis = { stroke: ink, grid: { stroke: line, width: 1 }, ticks: { stroke: line, width: 1 } };
for (const picture of JSON.parse(document.getElementById('pictures').textContent)) {
  const place = document.getElementById('plot-' + picture.id);
  const size = () => ({ width: Math.max(260, place.clientWidth), height: 320 });
  const plot = new uPlot({
    ...size(),
    scales: { x: { time: false, distr: picture.x.logarithmic ? 3 : 1, log: 2 }, y: { distr: picture.y.logarithmic ? 3 : 1, log: 10 } },
    axes: [
      { ...axis, label: picture.x.label, values: (_, at) => at.map((value) => value == null ? '' : number(value)) },
      { ...axis, label: picture.y.label, size: 64, values: (_, at) => at.map((value) => value == null ? '' : number(value)) },
    ],
    series: [
      { label: picture.x.label, value: (_, value) => number(value) },
      ...picture.lines.map(({ label, look }, index) => {
        const [dots, bound] = [look === 'dots', look === 'bound'];
        const stroke = bound ? ink : colours[index % colours.length];
        const points = { show: dots || (!bound && picture.x.values.length < 20), size: 6, fill: dots ? stroke : undefined };
        return {
          label, stroke, points, width: dots ? 0 : bound ? 1.5 : 2, dash: bound || index >= colours.length ? [6, 4] : undefined,
          paths: dots ? () => null : undefined, value: (_, value) => number(value),
        };
      }),
    ],
  }, [picture.x.values, ...picture.lines.map(({ values }) => values)], place);
  addEventListener('resize', () => plot.setSize(size()));
}
`;

const PLOT_STYLE = new Markup(`
.uplot,.uplot *{font-family:inherit!important}.u-legend{font-size:.82rem;text-align:left!important}.u-legend th{font-weight:500}
.u-legend th,.u-legend td{border:0;padding:2px 4px}.u-legend.u-inline tr{margin-right:12px}.plot{margin-top:14px;min-height:340px}
.u-legend tbody{display:flex!important;flex-wrap:wrap}.u-legend .u-series:first-child{order:1}
.uplot:not(:hover) .u-value,.uplot:not(:hover) .u-series:first-child{visibility:hidden}.uplot:not(:hover) th::after{visibility:hidden}
#disturbed{border-left:8px solid var(--bad);background:var(--bad-soft)}#disturbed h2{color:var(--bad)}
.verdict.unsure{border-left-color:var(--muted);background:var(--card)}.verdict.unsure h2{color:var(--ink)}
tbody th{min-width:0}
`);

/** A moment as people read it, of what `Date.toISOString` gives. */
export const moment = (date: string) => `${date.slice(0, 10)} ${date.slice(11, 16)} UTC`;

/** Text that may stand inside a script element: no markup can begin in it. */
const inScript = (text: string) => new Markup(text.replaceAll('</', '<\\/').replaceAll('<!--', '<\\!--'));
const json = (value: unknown) => new Markup(JSON.stringify(value).replaceAll('<', '\\u003c'));

/** One page that needs nothing but itself. */
export function renderPage(page: BenchPage, assets: { script: string; style: string }): string {
  const { title, about, disturbed, verdict, pictures, sections } = page;
  const disturbance = {
    id: 'disturbed',
    title: 'This run was disturbed: its figures are not to be kept',
    body: html`<ul class="bullets">${disturbed.map((reason) => html`<li>${reason}</li>`)}</ul>`,
  };
  return renderDocument({
    title,
    heading: title,
    about,
    policy: POLICY,
    style: [new Markup(assets.style), PLOT_STYLE],
    main: html`${disturbed.length > 0 && renderSection(disturbance)}
${verdict && html`<section id="verdict" class="verdict${disturbed.length > 0 ? ' unsure' : ''}"><h2>Verdict</h2><p>${verdict.sentence}</p>${verdict.why.length > 0 && html`<ul>${verdict.why.map((reason) => html`<li>${reason}</li>`)}</ul>`}</section>`}
${pictures.map(({ id, title: name, lead }) => renderSection({ id, title: name, body: html`<p class="lead">${lead}</p><div class="plot" id="plot-${id}"></div>` }))}
${sections.map(renderSection)}
`,
    footer: 'Made by tremolo bench. This page loads nothing.',
    scripts: html`<script type="application/json" id="pictures">${json(pictures)}</script>
<script>${inScript(assets.script)}</script>
<script>${inScript(DRAW)}</script>
`,
  });
}
