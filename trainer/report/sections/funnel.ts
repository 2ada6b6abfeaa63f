import { bytes, duration, isNumber, milliseconds, parameters, percent, signedPoints, times } from '../format.ts';
import { breakable, type Content, html, type Markup } from '../html.ts';
import { bar, captionOf, type Section, scrollable, table } from '../parts.ts';
import type { NetworkStage, ReportData, ReportStage } from '../report-data.ts';

const NETWORKS: Readonly<Record<NetworkStage, readonly [title: string, what: string]>> = {
  teacher: ['Teacher', 'the large network, fp32'],
  student: ['Student', 'what is deployed, before it shrinks, fp32'],
  pruned: ['Pruned', 'without its idle parts, fp32'],
  int8: ['int8', 'what gateways run'],
};

type FunnelRow = Pick<ReportStage, 'params' | 'bytes' | 'latencyMs' | 'accuracy'> & { readonly network: NetworkStage };

/** Networks that were kept, from large to small, with what is known of each from stages, sizes and the test. */
export function funnelRows({ stages = [], params = {}, bytes: sizes = {}, test, stagesMeasuredOn }: ReportData): FunnelRow[] {
  const size = { teacher: sizes.teacherFp32, student: sizes.studentFp32, pruned: sizes.prunedFp32, int8: sizes.int8 };
  const count = { ...params, int8: params.pruned ?? params.student };
  return (Object.keys(NETWORKS) as NetworkStage[]).flatMap((network) => {
    const of = stages.filter((stage) => stage.network === network);
    const stage = of.find(({ status }) => status !== 'taken back');
    if (!stage && (of.length > 0 || (size[network] === undefined && (network === 'int8' || count[network] === undefined)))) return [];
    const accuracy = stage?.accuracy ?? (network === 'int8' && stagesMeasuredOn !== 'validation' ? test.accuracy : undefined);
    return [
      {
        network,
        accuracy,
        params: stage?.params ?? count[network],
        bytes: stage?.bytes ?? size[network],
        latencyMs: stage?.latencyMs,
      },
    ];
  });
}

/** `96 % fewer parameters, 98 % fewer bytes, 12 times as fast, 0.3 points less accuracy than the teacher` */
function shrinking(rows: readonly FunnelRow[]): string | undefined {
  const [first, last] = [rows[0], rows[rows.length - 1]];
  if (rows.length < 2) return undefined;
  const both = (key: 'params' | 'bytes' | 'latencyMs' | 'accuracy') =>
    isNumber(first[key]) && isNumber(last[key]) && (key === 'accuracy' || (first[key] > 0 && last[key] > 0))
      ? ([first[key], last[key]] as const)
      : undefined;
  const [params, size, latency, accuracy] = (['params', 'bytes', 'latencyMs', 'accuracy'] as const).map(both);
  const less = (pair: readonly [number, number] | undefined, what: string) =>
    pair && `${percent(Math.abs(1 - pair[1] / pair[0]))} ${pair[1] > pair[0] ? 'more' : 'fewer'} ${what}`;
  const said = [
    less(params, 'parameters'),
    less(size, 'bytes'),
    latency && `${times(latency[0] / latency[1])} times as fast`,
    accuracy && `accuracy ${signedPoints(accuracy[1] - accuracy[0])} points`,
  ].filter((part) => part !== undefined);
  return said.length === 0
    ? undefined
    : `${NETWORKS[last.network][0]} against ${NETWORKS[first.network][0].toLowerCase()}: ${said.join(', ')}.`;
}

function funnelTable(rows: readonly FunnelRow[], measuredOn: ReportData['stagesMeasuredOn']): Markup {
  const [first] = rows;
  const quantities = [
    ['Size', 'bytes', bytes],
    ['Parameters', 'params', parameters],
    ['Time a window', 'latencyMs', milliseconds],
  ] as const;
  const shown = quantities.filter(([, key]) => rows.some((row) => isNumber(row[key])));
  const withAccuracy = rows.some((row) => isNumber(row.accuracy));
  const quantity = (row: FunnelRow, [, key, text]: (typeof quantities)[number]): Content => {
    const value = row[key];
    if (!isNumber(value)) return html`<td>–</td>`;
    const largest = Math.max(...rows.map((other) => other[key] ?? 0));
    const from = first[key];
    const ratio = row !== first && isNumber(from) && value > 0 && from >= 1.05 * value && `1/${times(from / value)} of ${first.network}`;
    return html`<td><b>${text(value)}</b>${bar(value / largest)}<small>${ratio}</small></td>`;
  };
  const accuracy = (row: FunnelRow): Content => {
    if (!isNumber(row.accuracy)) return html`<td>–</td>`;
    const change = row !== first && isNumber(first.accuracy) && `${signedPoints(row.accuracy - first.accuracy)} points`;
    return html`<td><b>${percent(row.accuracy)}</b><small>${change}</small></td>`;
  };
  const caption = `Each network as it was kept${withAccuracy && measuredOn ? `; accuracy on the ${measuredOn} windows` : ''}`;
  return html`<div class="funnel">${scrollable(
    caption,
    html`<table>${captionOf(caption)}<thead><tr><th scope="col">Network</th>${shown.map(([title]) => html`<th scope="col">${title}</th>`)}${
      withAccuracy && html`<th scope="col">Accuracy</th>`
    }</tr></thead><tbody>${rows.map(
      (row, index) =>
        html`<tr class="${row.network === 'int8' ? 'ours' : ''}"><th scope="row">${index > 0 && html`<span class="arrow" aria-hidden="true">↓ </span>`}${NETWORKS[row.network][0]}<small>${NETWORKS[row.network][1]}</small></th>${shown.map((one) => quantity(row, one))}${withAccuracy && accuracy(row)}</tr>`,
    )}</tbody></table>`,
  )}</div>`;
}

const BADGES = {
  done: html`<span class="badge">done</span>`,
  cached: html`<span class="badge">cached</span>`,
  'taken back': html`<span class="badge back">taken back</span>`,
};

function stageTable(stages: readonly ReportStage[]): Markup {
  const optional = [
    { title: 'Accuracy', has: 'accuracy', cell: ({ accuracy }: ReportStage) => percent(accuracy) },
    { title: 'Balanced', has: 'balancedAccuracy', cell: ({ balancedAccuracy }: ReportStage) => percent(balancedAccuracy) },
    { title: 'Parameters', has: 'params', cell: ({ params }: ReportStage) => parameters(params) },
    { title: 'Size', has: 'bytes', cell: (stage: ReportStage) => bytes(stage.bytes) },
    { title: 'Time a window', has: 'latencyMs', cell: ({ latencyMs }: ReportStage) => milliseconds(latencyMs) },
  ] as const;
  return table(
    'Every stage of the run, in its order',
    [
      { title: 'Stage', head: true, cell: ({ name, note }) => html`${breakable(name)}${note && html`<small>${breakable(note)}</small>`}` },
      { title: 'Result', cell: ({ status }) => BADGES[status] },
      { title: 'Took', number: true, cell: ({ seconds }) => duration(seconds) },
      ...optional
        .filter(({ has }) => stages.some((stage) => isNumber(stage[has])))
        .map(({ title, cell }) => ({ title, number: true, cell: (stage: ReportStage) => (cell(stage) === '–' ? '' : cell(stage)) })),
    ],
    stages,
    ({ status }) => (status === 'taken back' ? 'back' : ''),
  );
}

export function funnel(data: ReportData): Section | undefined {
  const rows = funnelRows(data);
  const stages = data.stages ?? [];
  // One network alone is no funnel: its figures stand at the top.
  if (rows.length < 2 && stages.length === 0) return undefined;
  const back = stages.filter(({ status, network }) => status === 'taken back' && network);
  return {
    id: 'funnel',
    title: 'From teacher to int8',
    body: html`${rows.length > 1 && html`<p class="lead">${shrinking(rows)}</p>${funnelTable(rows, data.stagesMeasuredOn)}`}${
      back.length > 0 &&
      html`<p class="note">Taken back, because it cost more than it was allowed to: ${back.map(({ name }) => name).join(', ')}.</p>`
    }${isNumber(data.bytes?.bundle) && html`<p class="note">The whole bundle, with back-up network, adapters and known answers, has ${bytes(data.bytes.bundle)}.</p>`}${
      stages.length > 0 && html`<h3>Stages</h3>${stageTable(stages)}`
    }`,
  };
}
