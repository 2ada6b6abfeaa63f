import { html, type Markup } from '../../trainer/report/html.ts';
import { type Column, table } from '../../trainer/report/parts.ts';
import { digits } from '../harness/interleave.ts';
import { type BenchPage, type LinePicture, moment } from '../report/page.ts';
import type { EngineReport } from './command.ts';
import type { Device } from './device.ts';
import type { EngineRow } from './measure.ts';

const wayOf = ({ engine, precision, threads }: Pick<EngineRow, 'engine' | 'precision' | 'threads'>) =>
  `${engine} ${precision}, ${threads} thread${threads === 1 ? '' : 's'}`;

function capacity({ rows }: EngineReport): LinePicture {
  const batches = [...new Set(rows.map(({ batch }) => batch))].sort((a, b) => a - b);
  const ways = [...new Set(rows.map(wayOf))];
  return {
    id: 'capacity',
    title: 'Capacity by batch',
    lead: 'Windows that each way decides a second; more is better. A gateway gathers windows of many streams into a batch.',
    x: { label: 'windows a batch', values: batches, logarithmic: true },
    y: { label: 'windows a second', logarithmic: true },
    lines: ways.map((label) => ({
      label,
      values: batches.map((batch) => rows.find((row) => wayOf(row) === label && row.batch === batch)?.windowsPerSecond ?? null),
    })),
  };
}

function distribution({ rows, verdict }: EngineReport): LinePicture {
  const shown = rows.filter(
    ({ engine, threads, batch }) => engine === verdict.engine && threads === verdict.threads && [1, 8, verdict.batch].includes(batch),
  );
  return {
    id: 'distribution',
    title: 'Latency distribution',
    lead: 'How long a run takes: at 99 the slowest run of a hundred. A flat line is a steady machine; one that rises at its right end has a long tail.',
    x: { label: 'percentile of runs', values: Array.from({ length: 99 }, (_, index) => index + 1) },
    y: { label: 'milliseconds a run', logarithmic: true },
    lines: shown.map((row) => ({ label: `${wayOf(row)}, batch ${row.batch}`, values: row.quantilesMs })),
  };
}

/** Each way against its own median, so that all lie around 1 and what slows the machine lifts all of them. */
function timeline({ rows, turns }: EngineReport): LinePicture {
  const relative = turns.map(({ row, msPerWindow }) => msPerWindow / (rows[row].ms.p50 / rows[row].batch));
  const of = (threads: number) =>
    turns.map(({ row }, index) => (Math.min(2, rows[row].threads) === threads ? Number(relative[index].toFixed(3)) : null));
  return {
    id: 'timeline',
    title: 'Time line',
    lead: 'Every turn against the median of its own way: 1 is as usual. Where all dots rise together, something else had the machine.',
    x: { label: 'seconds since the start', values: turns.map(({ atSeconds }) => atSeconds) },
    y: { label: 'times the median' },
    lines: [
      { label: 'one thread', values: of(1), look: 'dots' as const },
      { label: 'several threads', values: of(2), look: 'dots' as const },
    ].filter(({ values }) => values.some((value) => value !== null)),
  };
}

/** A table a way; open is that of the verdict. */
function ways({ rows, verdict, energy }: EngineReport): Markup {
  const columns: Column<EngineRow>[] = [
    { title: 'Batch', head: true, cell: ({ batch }) => batch },
    { title: 'p50', number: true, cell: ({ ms }) => digits(ms.p50) },
    { title: 'p99', number: true, cell: ({ ms }) => digits(ms.p99) },
    { title: 'p99.9', number: true, cell: ({ ms }) => (ms.p999 === null ? '–' : digits(ms.p999)) },
    { title: 'Windows a second', number: true, cell: ({ windowsPerSecond }) => Math.round(windowsPerSecond) },
    { title: 'CPU ms a window', number: true, cell: ({ cpuMsPerWindow }) => digits(cpuMsPerWindow) },
    ...(energy.missing === undefined
      ? [{ title: 'J a thousand', number: true, cell: ({ joulesPerThousandWindows }: EngineRow) => digits(joulesPerThousandWindows ?? 0) }]
      : []),
    { title: 'Runs', number: true, cell: ({ runs }) => runs },
  ];
  const all = [...new Set(rows.map(wayOf))];
  return html`<p class="lead">By the wall clock; a run decides a whole batch. A p99.9 wants 1,000 runs.</p>${all.map(
    (way) =>
      html`<details${way === wayOf(verdict) && html` open`}><summary>${way}</summary>${table(
        'Milliseconds a run',
        columns,
        rows.filter((row) => wayOf(row) === way),
      )}</details>`,
  )}`;
}

const description = (entries: readonly (readonly [string, string | number | null])[]): Markup =>
  html`<dl>${entries.map(([name, value]) => html`<dt>${name}</dt><dd>${value ?? 'the kernel does not tell'}</dd>`)}</dl>`;

export function deviceSection(device: Device): BenchPage['sections'][number] {
  const { cpu, model, architecture, cores, memoryGiB, vectorUnits, kernel, governor, node, onnxruntime, tfjs } = device;
  return {
    id: 'device',
    title: 'Device',
    body: description([
      ['Board', model],
      ['Processor', `${cpu} (${architecture})`],
      ['Cores', cores],
      ['Memory', `${memoryGiB} GiB`],
      ['Vector units', vectorUnits || 'none of those that matter'],
      ['Kernel', kernel],
      ['Frequency governor', governor],
      ['Node', node],
      ['onnxruntime', onnxruntime],
      ['tfjs', tfjs],
    ]),
  };
}

export function enginePage(report: EngineReport): BenchPage {
  const { device, date, bundle, disturbance, verdict, energy, memory, skipped, unmeasured } = report;
  const { stealShare, othersCores, waitedShare, mostRunnable, throttled, frequencyMhz, celsius } = disturbance;
  return {
    title: `Tremolo on ${device.model ?? device.cpu}`,
    about: `Bundle ${bundle.name} (${bundle.digest.slice(0, 12)}) · ${moment(date)}`,
    disturbed: disturbance.reasons,
    // What disturbed it stands above.
    verdict: { ...verdict, why: verdict.why.filter((reason) => !reason.startsWith('disturbed: ')) },
    pictures: [capacity(report), distribution(report), timeline(report)],
    sections: [
      {
        id: 'rows',
        title: 'Every way to run it',
        body: ways(report),
      },
      {
        id: 'surroundings',
        title: 'What else was going on',
        body: description([
          ['Taken by the hypervisor', stealShare === null ? null : `${digits(100 * stealShare)} % of the time`],
          ['Other programs', othersCores === null ? null : `${othersCores} cores on average`],
          ['Waited for a core', waitedShare === null ? null : `${digits(100 * waitedShare)} % of the time`],
          ['Most other threads ready to run', mostRunnable],
          ['Throttled', throttled === null ? null : `${throttled} times`],
          ['Frequency', frequencyMhz && `${frequencyMhz[0]} to ${frequencyMhz[1]} MHz`],
          ['Hottest', celsius === null ? null : `${celsius} °C`],
          ['Energy', energy.missing ?? 'by the kernel’s powercap counters, whole packages'],
          ['Memory of this program', `${memory.rssMb} MB, at most ${memory.peakMb} MB`],
          [
            'Not measured',
            [...Object.entries(skipped).map(([name, reason]) => `${name}: ${reason}`), ...unmeasured].join('; ') || 'nothing left out',
          ],
        ]),
      },
      deviceSection(device),
    ],
  };
}
