import { mkdtemp, readFile, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { table } from '../../trainer/report/parts.ts';
import { describeDevice } from '../engine/device.ts';
import { deviceSection } from '../engine/page.ts';
import { disturbedLine, othersReason } from '../harness/disturbance.ts';
import { digits } from '../harness/interleave.ts';
import { type BenchPage, moment, plotAssets, renderPage } from '../report/page.ts';
import { measureStreams, type StreamsResult } from '../streams/measure.ts';
import { type BenchVerb, bundleFolder, numberIn, pageFile, parseVerb, print } from '../verb.ts';
import { slopeOf } from './slope.ts';
import type { SoakLine } from './watch-process.ts';

/** The heap of a fresh program finds its size: this share of the run does not count for the slope. */
const SETTLING_SHARE = 0.2;
/** A shorter run says nothing of memory: the heap still finds its size. */
const SHORTEST_HOURS = 0.25;
/** A picture has no room for more. */
const MOST_POINTS = 2000;

export const soakVerb: BenchVerb = {
  name: 'soak',
  summary: 'a gateway under load for hours: jitter, memory, garbage collection',
  help: `usage: tremolo bench soak [options]

Runs a gateway under a steady load and watches it: latency jitter (p99 - p50), slope of its memory, and the pauses of its garbage collector. Needs
mosquitto.

  --hours H        (default 1; 0.01 is 36 seconds)
  --streams N      (default 100)
  --bundle FOLDER  default: the bundle shipped with Tremolo
  --html FILE      one page with the time line
  --json           one JSON object as the last line

example: tremolo bench soak --hours 0.005 --streams 20
`,
  async run(argv, context) {
    const { programs } = context;
    const text = { type: 'string' } as const;
    const { values } = parseVerb('soak', argv, { hours: text, streams: text, bundle: text, html: text });
    const hours = numberIn('hours', values.hours ?? '1', 0.001, 24);
    const streams = numberIn('streams', values.streams ?? '100', 1, 10_000, true);
    const bundle = await bundleFolder(context, values.bundle);
    const writePage = await pageFile(values.html);
    const folder = await mkdtemp(join(tmpdir(), 'tremolo-soak-'));
    const file = join(folder, 'lines.jsonl');
    try {
      process.env.TREMOLO_SOAK = file;
      const began = Date.now();
      const result = await measureStreams({
        streams,
        seconds: Math.max(1, Math.round(3600 * hours)),
        aligned: false,
        seed: 1,
        bundle,
        programs,
        imports: [new URL('soak-watch.js', programs).href],
        progress: (line) => process.stderr.write(`soak: ${line}\n`),
      });
      if ('skipped' in result) {
        print(`skipped: ${result.skipped}\n`);
        return result;
      }
      const lines = (await readFile(file, 'utf8'))
        .trimEnd()
        .split('\n')
        .map((line) => JSON.parse(line) as SoakLine);
      const report = {
        kind: 'soak' as const,
        date: new Date().toISOString(),
        hours,
        ...soakFigures(lines, result),
        device: await describeDevice(),
        streams: result,
      };
      await writePage(async () => renderPage(soakPage(report, lines, began), await plotAssets(programs)));
      const { jitterMs, memory, gc, loopDelayMs, disturbance } = report;
      print(
        disturbedLine(disturbance) +
          [
            `${streams} streams for ${digits(hours)} h: ${result.windowsDecided} of ${result.windowsExpected} windows decided`,
            `jitter (p99 - p50) ${digits(jitterMs)} ms; event loop at most ${digits(loopDelayMs.max)} ms late`,
            `memory: ${digits(memory.slopeMbPerHour)} ± ${digits(memory.errorMbPerHour)} MB an hour${memory.grows ? ': it grows' : memory.grows === null ? ' (too short a run to say whether it grows)' : ''}; ${digits(memory.lastMb)} MB at the end`,
            `garbage collection: ${gc.count} pauses, ${digits(gc.share * 100)} % of the time, longest ${digits(gc.longestMs)} ms`,
            ...(values.html ? [`page: ${values.html}`] : []),
            '',
          ].join('\n'),
      );
      return report;
    } finally {
      delete process.env.TREMOLO_SOAK;
      await rm(folder, { recursive: true, force: true });
    }
  },
};

/** @param lines of the gateway's main thread, a second each */
export function soakFigures(lines: readonly SoakLine[], { latencyMs, load }: Pick<StreamsResult, 'latencyMs' | 'load'>) {
  const settled = lines.slice(Math.floor(SETTLING_SHARE * lines.length));
  const settledHours = ((settled.at(-1)?.atMs ?? 0) - (settled[0]?.atMs ?? 0)) / 3_600_000;
  const { slope, error } = slopeOf(
    settled.map(({ atMs }) => atMs / 3_600_000),
    settled.map(({ rssMb }) => rssMb),
  );
  const totalMs = lines.reduce((sum, { gc }) => sum + gc.totalMs, 0);
  const reason = othersReason(load.othersCores);
  return {
    jitterMs: latencyMs.p99 - latencyMs.p50,
    memory: {
      slopeMbPerHour: slope,
      errorMbPerHour: error,
      grows: settledHours < SHORTEST_HOURS ? null : slope > 3 * error && slope > 1,
      lastMb: lines.at(-1)?.rssMb ?? Number.NaN,
    },
    gc: {
      count: lines.reduce((sum, { gc }) => sum + gc.count, 0),
      share: totalMs / Math.max(1, (lines.at(-1)?.atMs ?? 0) - (lines[0]?.atMs ?? 0)),
      longestMs: Math.max(0, ...lines.map(({ gc }) => gc.longestMs)),
    },
    loopDelayMs: { max: Math.max(0, ...lines.map(({ loopDelayMs }) => loopDelayMs.max)) },
    disturbance: { reasons: reason ? [reason] : [] },
  };
}

function memoryVerdict({ grows, slopeMbPerHour, errorMbPerHour }: ReturnType<typeof soakFigures>['memory']): string {
  if (grows === null) return 'The run was too short to say whether memory grows.';
  const slope = `${digits(slopeMbPerHour)} ± ${digits(errorMbPerHour)} MB an hour`;
  return grows ? `Memory grows by ${slope}.` : `Memory does not grow measurably: ${slope}.`;
}

type SoakReport = ReturnType<typeof soakFigures> & {
  date: string;
  hours: number;
  streams: StreamsResult;
  device: Awaited<ReturnType<typeof describeDevice>>;
};

function soakPage(report: SoakReport, lines: readonly SoakLine[], beganMs: number): BenchPage {
  const every = Math.ceil(lines.length / MOST_POINTS);
  const shown = lines.filter((_, index) => index % every === 0);
  const x = { label: 'minutes', values: shown.map(({ atMs }) => Number(((atMs - beganMs) / 60_000).toFixed(3))) };
  const line = (label: string, of: (line: SoakLine) => number) => ({ label, values: shown.map((one) => Number(of(one).toFixed(3))) });
  const { memory, device, streams, disturbance, jitterMs, gc } = report;
  return {
    title: `Soak on ${device.model ?? device.cpu}`,
    about: `${streams.streams} streams for ${digits(report.hours)} h · ${moment(report.date)}`,
    disturbed: disturbance.reasons,
    verdict: {
      sentence: `${disturbance.reasons.length > 0 ? 'Disturbed run, measure again: ' : ''}${memoryVerdict(memory)}`,
      why: [`p99 is ${digits(jitterMs)} ms above p50`, `the longest pause of the garbage collector was ${digits(gc.longestMs)} ms`],
    },
    pictures: [
      {
        id: 'memory',
        title: 'Memory',
        lead: 'Resident, V8’s heap, and buffers outside it.',
        x,
        y: { label: 'MB' },
        lines: [
          line('resident', ({ rssMb }) => rssMb),
          line('heap', ({ heapUsedMb }) => heapUsedMb),
          line('external', ({ externalMb }) => externalMb),
        ],
      },
      {
        id: 'pauses',
        title: 'Time line of pauses',
        lead: 'Longest in each second.',
        x,
        y: { label: 'milliseconds' },
        lines: [line('garbage collection', ({ gc }) => gc.longestMs), line('event loop late', ({ loopDelayMs }) => loopDelayMs.max)],
      },
    ],
    sections: [
      {
        id: 'latency',
        title: 'Latency',
        body: table(
          'From frame due to diagnosis received, milliseconds',
          [
            { title: 'p50', number: true, cell: ({ latencyMs }: StreamsResult) => digits(latencyMs.p50) },
            { title: 'p99', number: true, cell: ({ latencyMs }) => digits(latencyMs.p99) },
            { title: 'p99.9', number: true, cell: ({ latencyMs }) => digits(latencyMs.p999) },
            { title: 'largest', number: true, cell: ({ latencyMs }) => digits(latencyMs.max) },
          ],
          [streams],
        ),
      },
      deviceSection(device),
    ],
  };
}
