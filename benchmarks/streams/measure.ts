import { spawn } from 'node:child_process';
import { mkdir, mkdtemp, rm, writeFile } from 'node:fs/promises';
import { cpus, loadavg, tmpdir } from 'node:os';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { fileURLToPath } from 'node:url';
import { bankLayout, readBundle } from '../../models/bundle/bundle.ts';
import type { Manifest } from '../../models/bundle/schema/manifest.ts';
import { encodeSafetensors } from '../../models/bundle/schema/safetensors.ts';
import { Random } from '../../models/networks/random.ts';
import { type GatewayUse, startGatewayUnderTest } from './gateway-under-test.ts';
import type { LoadOrder, LoadReport } from './load-protocol.ts';
import { findMosquitto, startMosquitto } from './mosquitto.ts';
import { machineBusyMs } from './process-clock.ts';
import { type Quantiles, rounded } from './quantiles.ts';
import { Schedule, type SchedulePlan } from './schedule.ts';

const SITE = 'bench';
const GATEWAY = 'streams';
const FRAME_SAMPLES = 64;
const RSS_SAMPLE_MS = 500;

export interface StreamsOptions {
  readonly streams: number;
  readonly seconds: number;
  readonly aligned: boolean;
  readonly seed: number;
  readonly bundle: string;
  /** Folder of the built programs. */
  readonly programs: URL;
  /** Folder for processor profiles of the gateway; figures of such a run are not to be kept. */
  readonly profile?: string;
  /** Further modules that the gateway loads first, as URLs. */
  readonly imports?: readonly string[];
  progress(line: string): void;
}

export interface StreamsResult {
  readonly streams: number;
  readonly seconds: number;
  readonly framesLost: number;
  readonly windowsExpected: number;
  readonly windowsDecided: number;
  readonly windowsRefused: number;
  readonly windowsLost: number;
  readonly latencyMs: Quantiles;
  readonly gatewayCpuMsPerStreamSecond: number;
  /** Largest that was seen, megabytes of 10^6 bytes. */
  readonly rssMb: number;
  readonly aligned: boolean;
  /** Of the gateway, milliseconds a stream-second: inside the native run, and all else, by where. */
  readonly cpu: {
    readonly inside: number;
    readonly outside: number;
    readonly outsideOverInside: number;
    readonly mainThread: number;
    readonly inferenceThread: number;
    readonly otherThreads: number;
    readonly windowsPerRun: number;
  };
  /** Streams that were decided with an adapter of their own, as the gateway says. */
  readonly adapters: number;
  /** The gateway's own count; a window that it decided and whose diagnosis did not come was replaced by a newer one before it could be sent. */
  readonly decidedByGateway: number | undefined;
  readonly generator: { readonly sendLatenessMs: Quantiles; readonly cores: number; readonly mostBytesWaiting: number };
  readonly broker: { readonly name: string; readonly cores: number };
  readonly machine: { readonly cpu: string; readonly cores: number; readonly node: string };
  /** Load average of one minute before and after, and cores that programs outside this measurement kept busy meanwhile. */
  readonly load: { readonly before: number; readonly after: number; readonly othersCores: number };
  readonly duplicates: number;
  readonly strangers: number;
}

/** @returns why it cannot be measured here, or what was found */
export async function measureStreams(options: StreamsOptions): Promise<StreamsResult | { readonly skipped: string }> {
  const found = findMosquitto();
  if (!found) return { skipped: 'mosquitto is not installed (Debian: apt-get install mosquitto)' };
  if (process.platform !== 'linux') return { skipped: 'processor time of other processes is read from /proc, which only Linux has' };
  const { manifest } = await readBundle(options.bundle);
  const { recipe } = manifest;
  const { streams, seconds, aligned, seed } = options;
  const plan: SchedulePlan = { streams, seconds, aligned, seed, frameSamples: FRAME_SAMPLES, ...recipe };
  const schedule = new Schedule(plan);
  const folder = await mkdtemp(join(tmpdir(), 'tremolo-streams-'));
  const closers: (() => Promise<unknown>)[] = [() => rm(folder, { recursive: true, force: true })];
  try {
    const broker = await startMosquitto(folder, found);
    closers.unshift(broker.stop);
    await writeAdapters(join(folder, 'state', 'adapters'), manifest, streams);
    const configuration = {
      site: SITE,
      gateway: GATEWAY,
      bundle: options.bundle,
      broker: { url: broker.url },
      largestStreams: streams,
      stateFolder: join(folder, 'state'),
    };
    const gateway = await startGatewayUnderTest(configuration, options.programs, folder, options.profile, options.imports);
    closers.unshift(gateway.stop);
    const generator = startGenerator({ broker: broker.url, site: SITE, gateway: GATEWAY, plan }, options.programs);
    closers.unshift(generator.stop);
    await generator.ready;
    options.progress(`${streams} streams for ${seconds} s${aligned ? ', aligned' : ''}`);
    let rssMb = gateway.clock.rssMb();
    const timer = setInterval(() => {
      rssMb = Math.max(rssMb, gateway.clock.rssMb());
    }, RSS_SAMPLE_MS);
    const loadBefore = loadavg()[0];
    const [brokerBefore, busyBefore, before, began] = [broker.cpuMs(), machineBusyMs(), await gateway.use(), performance.now()];
    const self = process.cpuUsage();
    generator.begin();
    const report = await generator.report.finally(() => clearInterval(timer));
    const after = await gateway.use();
    const [brokerMs, busyMs, wallMs] = [broker.cpuMs() - brokerBefore, machineBusyMs() - busyBefore, performance.now() - began];
    const own = process.cpuUsage(self);
    const ownMs = (own.user + own.system) / 1000 + brokerMs + report.cpuMs + after.cpuMs - before.cpuMs;
    const refused = Object.values(report.ledger?.windowsRefused ?? {}).reduce((sum, count) => sum + count, 0);
    const streamSeconds = (streams * schedule.framesPerStream * FRAME_SAMPLES) / recipe.sampleRateHz;
    return {
      streams,
      seconds,
      framesLost: report.framesSent - (report.ledger?.samplesReceived ?? 0) / FRAME_SAMPLES,
      windowsExpected: schedule.windowsExpected,
      windowsDecided: report.windowsDecided,
      windowsRefused: refused,
      windowsLost: schedule.windowsExpected - report.windowsDecided - refused,
      latencyMs: report.latencyMs,
      gatewayCpuMsPerStreamSecond: rounded((after.cpuMs - before.cpuMs) / streamSeconds, 4),
      rssMb: rounded(rssMb, 1),
      aligned,
      cpu: cpuSplit(before, after, streamSeconds),
      adapters: report.adapters,
      decidedByGateway: report.ledger?.windowsDecided,
      generator: {
        sendLatenessMs: report.sendLatenessMs,
        cores: rounded(report.cpuMs / wallMs),
        mostBytesWaiting: report.mostBytesWaiting,
      },
      broker: { name: `mosquitto ${broker.version}`, cores: rounded(brokerMs / wallMs) },
      machine: { cpu: cpus()[0].model.trim(), cores: cpus().length, node: process.versions.node },
      load: {
        before: rounded(loadBefore, 2),
        after: rounded(loadavg()[0], 2),
        othersCores: rounded(Math.max(0, busyMs - ownMs) / wallMs, 2),
      },
      duplicates: report.duplicates,
      strangers: report.strangers,
    };
  } finally {
    for (const close of closers) await close();
  }
}

/** An adapter of its own for each stream: small random numbers, so that no two streams are decided alike. */
async function writeAdapters(folder: string, manifest: Manifest, streams: number): Promise<void> {
  await mkdir(folder, { recursive: true });
  const { parameters } = bankLayout(manifest);
  for (let stream = 0; stream < streams; stream++) {
    const random = new Random(stream + 1);
    const tensors = Object.fromEntries(
      parameters.map(({ name, shape, size }) => [
        name,
        { type: 'float32' as const, shape, values: Float32Array.from({ length: size }, () => 0.02 * random.normal()) },
      ]),
    );
    await writeFile(join(folder, `s${stream}.safetensors`), encodeSafetensors({ tensors, metadata: { base: manifest.base } }));
  }
}

/** Processor time inside the native run: what a window of a sampled run took, times all windows. */
function cpuSplit(before: GatewayUse, after: GatewayUse, streamSeconds: number): StreamsResult['cpu'] {
  const of = (key: keyof GatewayUse) => after[key] - before[key];
  const inside = (of('sampledCpuMs') / of('sampledWindows')) * of('windows');
  const outside = of('cpuMs') - inside;
  const each = (ms: number) => rounded(ms / streamSeconds, 4);
  return {
    inside: each(inside),
    outside: each(outside),
    outsideOverInside: rounded(outside / inside),
    mainThread: each(of('mainMs')),
    inferenceThread: each(of('workerMs')),
    otherThreads: each(of('cpuMs') - of('mainMs') - of('workerMs')),
    windowsPerRun: rounded(of('windows') / of('runs'), 2),
  };
}

/** Starts the load generator; it sends nothing before `begin`. */
export function startGenerator(order: LoadOrder, programs: URL) {
  const child = spawn(process.execPath, [fileURLToPath(new URL('stream-load.js', programs)), JSON.stringify(order)], {
    stdio: ['pipe', 'pipe', 'inherit'],
  });
  const ended = new Promise<number | null>((resolve) => child.once('exit', resolve));
  let [onReady, onReport]: ((line: string) => void)[] = [];
  const ready = new Promise<string>((resolve) => {
    onReady = resolve;
  });
  const line = new Promise<string>((resolve) => {
    onReport = resolve;
  });
  createInterface({ input: child.stdout }).on('line', (text) => (text === 'ready' ? onReady : onReport)(text));
  const died = ended.then((code): never => {
    throw new Error(`the load generator ended with ${code}`);
  });
  died.catch(() => {});
  return {
    ready: Promise.race([ready, died]),
    report: Promise.race([line, died]).then((text) => JSON.parse(text) as LoadReport),
    begin: () => child.stdin.write('begin\n'),
    mark: () => child.stdin.write('mark\n'),
    async stop() {
      child.kill('SIGTERM');
      await ended;
    },
  };
}
