import { cpus } from 'node:os';
import { resolve } from 'node:path';
import { fileURLToPath } from 'node:url';
import { ProgressBar } from '../../trainer/io/progress.ts';
import { type Disturbance, DisturbanceWatch, disturbedLine } from '../harness/disturbance.ts';
import { digits } from '../harness/interleave.ts';
import { columns } from '../harness/report.ts';
import { plotAssets, renderPage } from '../report/page.ts';
import { rounded } from '../streams/quantiles.ts';
import { type BenchVerb, bundleFolder, numberIn, pageFile, parseVerb, print } from '../verb.ts';
import { type Device, describeDevice } from './device.ts';
import { energyMeter } from './energy.ts';
import { type EngineMeasured, type EngineRow, measureEngines } from './measure.ts';
import { enginePage } from './page.ts';
import { pathMsPerStreamSecond } from './path.ts';
import { loadSubjects, threadCounts } from './subjects.ts';
import { readTunable, writeTuning } from './tune-file.ts';
import { type Verdict, verdictOf } from './verdict.ts';

/** What `bench engine --json` prints. */
export interface EngineReport extends EngineMeasured {
  readonly kind: 'engine';
  readonly date: string;
  readonly device: Device;
  readonly bundle: { readonly name: string; readonly digest: string; readonly windowsPerStreamSecond: number };
  readonly verdict: Verdict;
  readonly disturbance: Disturbance;
  /** Processor time of a stream-second outside the model and the broker's client; null where it was not measured. */
  readonly pathMsPerStreamSecond: number | null;
  readonly memory: { readonly rssMb: number; readonly peakMb: number; readonly sessionsMb: Readonly<Record<string, number>> };
  readonly energy: { readonly missing?: string };
  readonly skipped: Readonly<Record<string, string>>;
  readonly seconds: number;
}

const HELP = `usage: tremolo bench engine [BUNDLE] [options]

Runs a bundle on this device in every way there is (onnxruntime and wasm, int8 and fp32, 1 to all threads, batches of 1 to 64) in turns, and says how
many streams the device carries and how to run them. fp32 needs the bundle's part server, as tremolo train wrote it.

  --seconds S      for the measurement (default 30; the whole takes some seconds more)
  --tune FILE      writes engine, threads and largestBatch into that gateway.yaml, unless something disturbed the run
  --html FILE      one page: verdict, capacity, latency distribution, time line, device
  --json           one JSON object as the last line

example: tremolo bench engine --seconds 5 --html engine.html

Exit code: 0 measured (a disturbed run says so), 1 failed, 2 wrong usage or bad bundle.
`;

const OPTIONS = {
  seconds: { type: 'string', default: '30' },
  bundle: { type: 'string' },
  tune: { type: 'string' },
  html: { type: 'string' },
} as const;

const PATH_SECONDS = 1.5;

export const engineVerb: BenchVerb = {
  name: 'engine',
  summary: 'every way to run a bundle on this device, and how many streams it carries',
  help: HELP,
  async run(argv, context) {
    const { programs, signal } = context;
    const { values, positionals } = parseVerb('engine', argv, OPTIONS, 1);
    const seconds = numberIn('seconds', values.seconds!, 1, 3600);
    const folder = await bundleFolder(context, positionals[0] ?? values.bundle);
    const writePage = await pageFile(values.html);
    if (values.tune) await readTunable(resolve(values.tune));
    const bar = new ProgressBar('engine');
    const report = await benchEngine(folder, programs, seconds, signal, bar);
    bar.done(`${report.rows.length} ways and batches in ${report.seconds.toFixed(0)} s`);
    // What something disturbed would bind the gateway to a figure of the moment.
    const tunes = values.tune !== undefined && report.disturbance.reasons.length === 0;
    if (tunes) await writeTuning(resolve(values.tune!), report.verdict);
    await writePage(async () => renderPage(enginePage(report), await plotAssets(programs)));
    const tuned =
      values.tune === undefined
        ? ''
        : tunes
          ? `written to ${values.tune}: engine, threads, largestBatch\n`
          : `NOT written to ${values.tune}: the run was disturbed; run it again on an idle machine\n`;
    print(`${summary(report)}${tuned}${values.html ? `page: ${values.html}\n` : ''}`);
    return { ...report };
  },
};

export async function benchEngine(
  folder: string,
  programs: URL,
  seconds: number,
  signal: AbortSignal | undefined,
  bar: Pick<ProgressBar, 'update'>,
): Promise<EngineReport> {
  const began = performance.now();
  const loaded = await loadSubjects(folder, fileURLToPath(programs), threadCounts(cpus().length), () => {});
  const { bundle, subjects, skipped } = loaded;
  const { name, recipe } = bundle.manifest;
  const windowsPerStreamSecond = recipe.sampleRateHz / recipe.stride;
  const meter = energyMeter();
  const missing = 'missing' in meter ? meter.missing : undefined;
  try {
    const watch = new DisturbanceWatch();
    const measured = await measureEngines(loaded, { seconds }, watch, 'missing' in meter ? undefined : meter, signal, (share) =>
      bar.update(share),
    );
    const disturbance = watch.finish();
    const engine = subjects.some((subject) => subject.engine === 'onnxruntime') ? 'onnxruntime' : 'wasm';
    const pathMs = await pathMsPerStreamSecond(bundle, folder, engine, programs, PATH_SECONDS);
    const device = await describeDevice();
    const verdict = verdictOf({ ...measured, windowsPerStreamSecond, pathMs, skipped, disturbed: disturbance.reasons });
    return {
      kind: 'engine',
      date: new Date().toISOString(),
      device,
      bundle: { name, digest: bundle.digest, windowsPerStreamSecond },
      verdict,
      ...measured,
      disturbance,
      pathMsPerStreamSecond: pathMs === undefined ? null : rounded(pathMs, 4),
      memory: {
        rssMb: rounded(process.memoryUsage.rss() / 1e6, 1),
        // ru_maxrss is in kibibytes.
        peakMb: rounded((process.resourceUsage().maxRSS * 1024) / 1e6, 1),
        sessionsMb: Object.fromEntries(
          subjects.map((subject) => [`${subject.engine} ${subject.precision} ${subject.threads}`, rounded(subject.loadedMb, 1)]),
        ),
      },
      energy: { ...(missing !== undefined && { missing }) },
      skipped,
      seconds: rounded((performance.now() - began) / 1000, 1),
    };
  } finally {
    await loaded.release();
  }
}

function summary({ rows, verdict, disturbance, device, energy, memory, skipped, unmeasured }: EngineReport): string {
  const disturbed = disturbedLine(disturbance);
  const line = ({ engine, precision, threads, batch, ms, windowsPerSecond, cpuMsPerWindow, joulesPerThousandWindows }: EngineRow) => [
    engine,
    precision,
    String(threads),
    String(batch),
    digits(ms.p50),
    digits(ms.p99),
    ms.p999 === null ? '-' : digits(ms.p999),
    windowsPerSecond.toFixed(0),
    digits(cpuMsPerWindow),
    ...(joulesPerThousandWindows === null ? [] : [digits(joulesPerThousandWindows)]),
  ];
  const head = [
    'engine',
    'weights',
    'threads',
    'batch',
    'p50 ms',
    'p99 ms',
    'p99.9 ms',
    'windows/s',
    'CPU ms/window',
    ...(energy.missing ? [] : ['J/1000']),
  ];
  return [
    disturbed.trimEnd(),
    ...columns([head, ...rows.map(line)]),
    `${device.model ?? device.cpu}, ${device.cores} cores; ${memory.rssMb} MB; energy: ${energy.missing ?? 'whole packages, by powercap'}`,
    ...Object.entries(skipped).map(([name, reason]) => `not measured: ${name}: ${reason}`),
    ...(unmeasured.length > 0 ? [`not measured for lack of time: ${unmeasured.join('; ')}`] : []),
    verdict.sentence,
    ...verdict.why.map((reason) => `  ${reason}`),
    '',
  ]
    .filter((text, index, all) => text !== '' || index === all.length - 1)
    .join('\n');
}
