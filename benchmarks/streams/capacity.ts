import { ProgressBar } from '../../trainer/io/progress.ts';
import { html } from '../../trainer/report/html.ts';
import { table } from '../../trainer/report/parts.ts';
import { type Device, describeDevice } from '../engine/device.ts';
import { deviceSection } from '../engine/page.ts';
import { disturbedLine, othersReason } from '../harness/disturbance.ts';
import { digits } from '../harness/interleave.ts';
import { columns } from '../harness/report.ts';
import { type BenchPage, moment, plotAssets, renderPage } from '../report/page.ts';
import { type BenchVerb, bundleFolder, numberIn, pageFile, parseVerb, print } from '../verb.ts';
import { measureStreams, type StreamsResult } from './measure.ts';

/** p99 from frame due to diagnosis received, beyond which a gateway carries too many streams. */
export const BOUND_MS = 100;

/** One run of the search. */
export interface CapacityPoint {
  readonly streams: number;
  readonly p99Ms: number;
  /** Whether every window was decided and p99 kept the bound. */
  readonly carried: boolean;
}

/**
 * The most streams that are carried: doubles until they are not, then halves the distance until it is `resolution` of the answer. Takes it that more
 * streams are never easier; one disturbed run can therefore make the answer too small, never too large.
 *
 * @returns 0 where not even `first` halved down to 1 is carried; `most` where all are
 */
export async function searchCapacity(
  measure: (streams: number) => Promise<CapacityPoint>,
  { first, most, resolution }: { readonly first: number; readonly most: number; readonly resolution: number },
): Promise<number> {
  let [low, high] = [0, most + 1];
  let next = Math.min(first, most);
  while (high - low > Math.max(1, resolution * low)) {
    if ((await measure(next)).carried) low = next;
    else high = next;
    next = high > most ? Math.min(most, 2 * low) : low === 0 ? Math.floor(high / 2) : Math.floor((low + high) / 2);
    if (next <= low || next >= high) break;
  }
  return low;
}

interface CapacityReport {
  readonly kind: 'capacity';
  readonly date: string;
  readonly device: Device;
  /** Most streams whose p99 stayed below `boundMs`, to five per cent. */
  readonly streams: number;
  readonly boundMs: number;
  readonly secondsEach: number;
  /** Every run of the search, in order of streams. */
  readonly points: readonly (StreamsResult & { readonly name: string; readonly carried: boolean })[];
  readonly disturbance: { readonly reasons: readonly string[] };
}

export const capacityVerb: BenchVerb = {
  name: 'streams',
  summary: 'how many streams this device carries, through broker and gateway',
  help: `usage: tremolo bench streams --capacity [options]

Finds by bisection the number of streams at which p99 crosses ${BOUND_MS} ms, to five per cent. Needs mosquitto.

  --streams N      where the search begins (default 200)
  --seconds S      each run (default 10)
  --bundle FOLDER  default: the bundle shipped with Tremolo
  --html FILE      one page with the capacity curve
  --json           one JSON object as the last line

example: tremolo bench streams --capacity --seconds 5
`,
  async run(argv, context) {
    const { programs, signal } = context;
    const text = { type: 'string' } as const;
    const { values } = parseVerb('streams --capacity', argv, { streams: text, seconds: text, bundle: text, html: text });
    const first = numberIn('streams', values.streams ?? '200', 1, 10_000, true);
    const secondsEach = numberIn('seconds', values.seconds ?? '10', 1, 3600, true);
    const bundle = await bundleFolder(context, values.bundle);
    const writePage = await pageFile(values.html);
    const points: CapacityReport['points'][number][] = [];
    const bar = new ProgressBar('capacity');
    let skipped: string | undefined;
    const streams = await searchCapacity(
      async (count) => {
        signal?.throwIfAborted();
        const result = await measureStreams({
          streams: count,
          seconds: secondsEach,
          aligned: false,
          seed: 1,
          bundle,
          programs,
          progress: () => {},
        });
        if ('skipped' in result) {
          skipped = result.skipped;
          return { streams: count, p99Ms: Number.NaN, carried: false };
        }
        const carried = result.latencyMs.p99 <= BOUND_MS && result.windowsDecided === result.windowsExpected;
        points.push({ ...result, name: `${count} streams`, carried });
        // A search of about ten runs.
        bar.update(Math.min(0.99, points.length / 10), `${count} streams: p99 ${result.latencyMs.p99} ms${carried ? '' : ', too many'}`);
        return { streams: count, p99Ms: result.latencyMs.p99, carried };
      },
      { first, most: 10_000, resolution: 0.05 },
    );
    if (skipped) {
      print(`skipped: ${skipped}\n`);
      return { skipped };
    }
    bar.done(`${points.length} runs`);
    points.sort((a, b) => a.streams - b.streams);
    const reasons = points.flatMap(({ streams: count, load }) => {
      const reason = othersReason(load.othersCores);
      return reason ? [`${reason} in the run of ${count} streams`] : [];
    });
    const report: CapacityReport = {
      kind: 'capacity',
      date: new Date().toISOString(),
      device: await describeDevice(),
      streams,
      boundMs: BOUND_MS,
      secondsEach,
      points,
      disturbance: { reasons },
    };
    await writePage(async () => renderPage(capacityPage(report), await plotAssets(programs)));
    const line = ({
      streams,
      latencyMs,
      gatewayCpuMsPerStreamSecond,
      windowsDecided,
      windowsExpected,
      carried,
    }: CapacityReport['points'][number]) => [
      String(streams),
      digits(latencyMs.p50),
      digits(latencyMs.p99),
      digits(gatewayCpuMsPerStreamSecond),
      `${windowsDecided} of ${windowsExpected}`,
      carried ? 'yes' : 'no',
    ];
    print(
      disturbedLine({ reasons }) +
        [
          ...columns([['streams', 'p50 ms', 'p99 ms', 'CPU ms/stream-s', 'windows decided', 'carried'], ...points.map(line)]),
          `${streams} streams keep p99 below ${BOUND_MS} ms`,
          ...(values.html ? [`page: ${values.html}`] : []),
          '',
        ].join('\n'),
    );
    return report;
  },
};

function capacityPage(report: CapacityReport): BenchPage {
  const { device, date, points, streams, boundMs, secondsEach, disturbance } = report;
  const carried = points.find((point) => point.streams === streams);
  const latency = (share: 'p50' | 'p99' | 'p999') => points.map((point) => point.latencyMs[share]);
  return {
    title: `Streams on ${device.model ?? device.cpu}`,
    about: `Runs of ${secondsEach} s · ${moment(date)}`,
    disturbed: disturbance.reasons,
    verdict: {
      sentence: `${disturbance.reasons.length > 0 ? 'Disturbed run, measure again: this' : 'This'} device carries ${streams} streams${
        points.every((point) => point.carried)
          ? ', as many as were tried.'
          : `. With more, over one window of a hundred waits longer than ${boundMs} ms.`
      }`,
      why: [
        'gateway, broker and load generator shared this machine; found by halving, to five per cent',
        ...(carried
          ? [
              `${digits(carried.gatewayCpuMsPerStreamSecond)} ms of the gateway’s processor time a stream-second there, ${digits(carried.rssMb)} MB`,
            ]
          : []),
      ],
    },
    pictures: [
      {
        id: 'capacity',
        title: 'Capacity curve',
        lead: `From when a window’s last frame was due to when its diagnosis was back. The device carries what keeps p99 below the dashed line.`,
        x: { label: 'streams', values: points.map((point) => point.streams) },
        y: { label: 'milliseconds', logarithmic: true },
        lines: [
          { label: 'p50', values: latency('p50') },
          { label: 'p99', values: latency('p99') },
          { label: 'p99.9', values: latency('p999') },
          { label: `bound, ${boundMs} ms`, values: points.map(() => boundMs), look: 'bound' },
        ],
      },
    ],
    sections: [
      {
        id: 'runs',
        title: 'Every run',
        body: html`${table(
          'Latency in milliseconds; CPU is the gateway’s processor time in milliseconds a stream-second',
          [
            { title: 'Streams', head: true, cell: (point: CapacityReport['points'][number]) => point.streams },
            { title: 'p50', number: true, cell: ({ latencyMs }) => digits(latencyMs.p50) },
            { title: 'p99', number: true, cell: ({ latencyMs }) => digits(latencyMs.p99) },
            { title: 'p99.9', number: true, cell: ({ latencyMs }) => digits(latencyMs.p999) },
            {
              title: 'CPU',
              number: true,
              cell: ({ gatewayCpuMsPerStreamSecond }) => digits(gatewayCpuMsPerStreamSecond),
            },
            { title: 'Carried', cell: ({ carried }) => (carried ? 'yes' : 'no') },
          ],
          points,
        )}`,
      },
      deviceSection(device),
    ],
  };
}
