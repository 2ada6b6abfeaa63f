import { spawn } from 'node:child_process';
import { mkdir, mkdtemp, readFile, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { bankLayout, FILES, readBundle } from '../../models/bundle/bundle.ts';
import { gatewayTopics } from '../../runtime/contracts/topics.ts';
import { connectBroker } from '../../runtime/io/broker-client.ts';
import { type Disturbance, DisturbanceWatch } from '../harness/disturbance.ts';
import { freshCounts, startGatewayUnderTest } from '../streams/gateway-under-test.ts';
import { startGenerator } from '../streams/measure.ts';
import { findMosquitto, type Mosquitto, startMosquitto } from '../streams/mosquitto.ts';
import { SamplePackets } from '../streams/packets.ts';
import { processClock } from '../streams/process-clock.ts';
import { Schedule, type SchedulePlan } from '../streams/schedule.ts';
import { installPeers } from './install.ts';
import { type Agreement, KnownWindows } from './known-windows.ts';
import { linesWritten, PEERS, type Peer } from './peers.ts';

const FRAME_SAMPLES = 64;
const [SITE, GATEWAY] = ['bench', 'streams'] as const;
const TOPICS = gatewayTopics(SITE, GATEWAY);

export interface FieldOptions {
  readonly root: string;
  readonly programs: URL;
  readonly streams: number;
  /** Of one turn; every side has as many turns as rounds. */
  readonly seconds: number;
  readonly rounds: number;
  progress(line: string): void;
}

/** One side, over all its turns. Processor time in milliseconds a stream-second. */
export interface FieldSide {
  readonly id: string;
  readonly name: string;
  readonly total: number;
  /** Inside the model's own runs, and all else. */
  readonly inside: number;
  readonly outside: number;
  /** Means over the turns, milliseconds. */
  readonly p50Ms: number;
  readonly p99Ms: number;
  readonly rssMb: number;
  readonly lines: number;
  readonly windowsExpected: number;
  readonly windowsDecided: number;
  readonly precision: Peer['precision'];
  /** With the bundle's graphs, of a peer: the largest differences of all turns. */
  readonly agreement?: Agreement;
}

export interface FieldResult {
  readonly sides: readonly FieldSide[];
  /** Why a peer is not among them. */
  readonly unable: Readonly<Record<string, string>>;
  readonly disturbance: Disturbance;
}

/** A started side. */
interface Running {
  readonly pid: number;
  /** The last that it printed. */
  words(): string;
  use(): Promise<{ readonly cpuMs: number; readonly windows: number; readonly sampledWindows: number; readonly sampledCpuMs: number }>;
  stop(): Promise<void>;
}

interface Turn {
  /** Seconds of each stream that the processor time belongs to. */
  readonly seconds: number;
  readonly totalMs: number;
  readonly insideMs: number;
  readonly p50Ms: number;
  readonly p99Ms: number;
  readonly rssMb: number;
  readonly windowsDecided: number;
  readonly agreement?: Agreement;
}

type Prove = (client: ReturnType<typeof connectBroker>, words: () => string) => Promise<Agreement>;

/** At the beginning of a turn, not counted: V8 compiles what Node runs, Python imports. A gateway is on for months. */
const WARM_SHARE = 0.25;

/**
 * Tremolo's gateway and its peers on the same broker, each in its turn with the same stream of frames (A B C, C B A): two at once would take each
 * other's processor. Every side parses the binary frames, cuts the same windows, gathers batches for 2 ms, runs the same graph on one thread (PyTorch:
 * the same network in fp32), and publishes a diagnosis with all probabilities, which are held against the graph's. The gateway alone checks CRCs and sequences, smooths, keeps alarms and runs the back-up network.
 *
 * @returns or why it cannot be measured here
 */
export async function measureField(options: FieldOptions): Promise<FieldResult | { readonly skipped: string }> {
  const found = findMosquitto();
  if (!found) return { skipped: 'mosquitto is not installed (Debian: apt-get install mosquitto)' };
  const installed = await installPeers(options.progress);
  const { root, programs, streams, seconds } = options;
  const bundleFolder = `${root}models/shipped/plant`;
  const { manifest } = await readBundle(bundleFolder);
  const plan: SchedulePlan = { streams, seconds, aligned: false, seed: 1, frameSamples: FRAME_SAMPLES, ...manifest.recipe };
  const folder = await mkdtemp(join(tmpdir(), 'tremolo-field-'));
  const broker = await startMosquitto(folder, found);
  const watch = new DisturbanceWatch(() => Number.NaN);
  try {
    const ours = {
      id: 'tremolo',
      name: 'Tremolo',
      // gateway.yaml: site, gateway, bundle, broker.
      lines: 4,
      precision: 'int8' as const,
      start: async (place: string): Promise<Running> => {
        const configuration = { site: SITE, gateway: GATEWAY, bundle: bundleFolder, broker: { url: broker.url } };
        const { clock, ...gateway } = await startGatewayUnderTest(configuration, programs, place, undefined);
        return { ...gateway, pid: clock.pid, words: () => '' };
      },
    };
    const unable: Record<string, string> = {};
    const able = PEERS.flatMap((peer) => {
      const name = peer.name(installed);
      if (typeof name === 'string') return [{ peer, name }];
      unable[peer.id] = name.skipped;
      return [];
    });
    const theirs = able.map(({ peer, name }) => ({
      id: peer.id,
      name,
      lines: 0,
      precision: peer.precision,
      start: async (place: string): Promise<Running> => {
        const probe = join(place, 'peer-probe');
        await mkdir(probe);
        const { argv, environment } = await peer.command({
          root,
          programs,
          installed,
          bundle: bundleFolder,
          broker: broker.url,
          folder: place,
        });
        return startPeer(peer, argv, {
          ...environment,
          BROKER: broker.url,
          MODEL: join(bundleFolder, FILES.infer),
          CLASSES: JSON.stringify(manifest.classes),
          ADAPTER_NUMBERS: String(bankLayout(manifest).size),
          SAMPLES: TOPICS.samples('x').slice(0, -1),
          DIAGNOSIS: TOPICS.diagnosis('x').slice(0, -1),
          FIELD_REQUIRE: `${root}package.json`,
          TREMOLO_PROBE: probe,
        });
      },
    }));
    const sides = [ours, ...theirs];
    const known = await KnownWindows.make(bundleFolder, TOPICS);
    const turns = new Map(sides.map(({ id }) => [id, [] as Turn[]]));
    const order = [...sides];
    for (let round = 0; round < options.rounds; round++) {
      for (const side of order) {
        options.progress(`round ${round + 1} of ${options.rounds}: ${side.name}`);
        const place = join(folder, `${side.id}-${round}`);
        await mkdir(place);
        const prove: Prove | undefined = side.id === 'tremolo' ? undefined : (client, words) => known.play(client, side.precision, words);
        turns.get(side.id)!.push(await takeTurn(() => side.start(place), broker, plan, programs, prove));
        watch.sample();
      }
      order.reverse();
    }
    const { windowsExpected } = new Schedule(plan);
    return {
      sides: await Promise.all(
        sides.map(async ({ id, name, lines, precision }) => {
          const own = turns.get(id)!;
          const sum = (of: (turn: Turn) => number) => own.reduce((total, turn) => total + of(turn), 0);
          const streamSeconds = streams * sum((turn) => turn.seconds);
          const files = PEERS.find((peer) => peer.id === id)?.files ?? [];
          const texts = await Promise.all(files.map((file) => readFile(`${root}benchmarks/field/${file}`, 'utf8')));
          return {
            id,
            name,
            total: sum(({ totalMs }) => totalMs) / streamSeconds,
            inside: sum(({ insideMs }) => insideMs) / streamSeconds,
            outside: sum(({ totalMs, insideMs }) => totalMs - insideMs) / streamSeconds,
            p50Ms: sum(({ p50Ms }) => p50Ms) / own.length,
            p99Ms: sum(({ p99Ms }) => p99Ms) / own.length,
            rssMb: Math.max(...own.map(({ rssMb }) => rssMb)),
            lines: lines + texts.reduce((total, text) => total + linesWritten(text), 0),
            windowsExpected: options.rounds * windowsExpected,
            windowsDecided: sum(({ windowsDecided }) => windowsDecided),
            precision,
            agreement: own.flatMap(({ agreement }) => agreement ?? []).reduce<Agreement | undefined>(worse, undefined),
          };
        }),
      ),
      unable,
      disturbance: watch.finish(),
    };
  } finally {
    await broker.stop();
    await rm(folder, { recursive: true, force: true });
  }
}

function worse(one: Agreement | undefined, other: Agreement): Agreement {
  return one ? { ...one, int8: Math.max(one.int8, other.int8), fp32: Math.max(one.fp32, other.fp32) } : other;
}

async function startPeer(peer: Peer, argv: readonly string[], environment: Record<string, string>): Promise<Running> {
  const child = spawn(argv[0], argv.slice(1), { env: { ...process.env, ...environment }, stdio: ['ignore', 'pipe', 'pipe'] });
  let words = '';
  for (const stream of [child.stdout, child.stderr]) {
    stream.setEncoding('utf8').on('data', (chunk: string) => {
      words = (words + chunk).slice(-2000);
    });
  }
  const ended = new Promise<number | null>((resolve) => child.once('exit', resolve));
  let stopping = false;
  void ended.then((code) => {
    if (!stopping) process.stderr.write(`field: ${peer.id} ended with ${code}: ${words.trim()}\n`);
  });
  const clock = processClock(child.pid!);
  return {
    pid: child.pid!,
    words: () => words.trim(),
    async use() {
      if (child.exitCode !== null) throw new Error(`${peer.id} ended: ${words.trim()}`);
      const { worker } = await freshCounts(environment.TREMOLO_PROBE);
      return { cpuMs: clock.cpuMs(), windows: worker.windows, sampledWindows: worker.sampledWindows, sampledCpuMs: worker.sampledCpuMs };
    },
    async stop() {
      stopping = true;
      child.kill('SIGKILL');
      await ended;
    },
  };
}

async function takeTurn(
  start: () => Promise<Running>,
  broker: Mosquitto,
  plan: SchedulePlan,
  programs: URL,
  /** Of a peer: the gateway warms its model itself, smooths, and says its status. */
  prove: Prove | undefined,
): Promise<Turn> {
  const side = await start();
  const client = connectBroker(broker.url, () => {});
  let timer: NodeJS.Timeout | undefined;
  try {
    let agreement: Agreement | undefined;
    if (prove) {
      await warmUp(client, plan, side.words);
      agreement = await prove(client, side.words);
    }
    const schedule = new Schedule(plan);
    // Peers keep no ledger: to the generator they say that all has come, and it waits for the windows themselves.
    const ledger = {
      windowsWaiting: 0,
      samplesReceived: schedule.framesExpected * FRAME_SAMPLES,
      samplesLost: 0,
      windowsExpected: schedule.windowsExpected,
      windowsRefused: {},
    };
    if (prove) timer = setInterval(() => client.publish(TOPICS.status, JSON.stringify({ ledger })), 1000);
    const generator = startGenerator({ broker: broker.url, site: SITE, gateway: GATEWAY, plan }, programs);
    // Where the side fails first, its error is the one to be told.
    generator.report.catch(() => {});
    try {
      await generator.ready;
      const clock = processClock(side.pid);
      generator.begin();
      const beganMs = performance.now();
      await new Promise((resolve) => setTimeout(resolve, 1000 * WARM_SHARE * plan.seconds));
      const before = await side.use();
      const warmSeconds = (performance.now() - beganMs) / 1000;
      generator.mark();
      const report = await generator.report;
      const after = await side.use();
      const windows = after.windows - before.windows;
      const insideMs = ((after.sampledCpuMs - before.sampledCpuMs) / (after.sampledWindows - before.sampledWindows)) * windows;
      const { p50, p99 } = report.latencyMsByMark[1];
      return {
        seconds: plan.seconds - warmSeconds,
        totalMs: after.cpuMs - before.cpuMs,
        insideMs,
        p50Ms: p50,
        p99Ms: p99,
        rssMb: clock.rssMb(),
        windowsDecided: report.windowsDecided,
        agreement,
      };
    } finally {
      await generator.stop();
    }
  } finally {
    clearInterval(timer);
    await client.endAsync(true);
    await side.stop();
  }
}

/** Plays a stream of its own to the side until an answer comes: it is subscribed then, and its model has run. */
async function warmUp(client: ReturnType<typeof connectBroker>, { frameSamples }: SchedulePlan, words: () => string): Promise<void> {
  const topic = TOPICS.samples('warm');
  const packets = new SamplePackets([topic], frameSamples);
  const bytes = Buffer.alloc(packets.bytesOf(0));
  // What the broker kept is the answer of the side before.
  const heard = new Promise<void>((resolve) => client.on('message', (_topic, _payload, { retain }) => !retain && resolve()));
  await client.subscribeAsync(TOPICS.diagnosis('warm'), { qos: 0 });
  let frame = 0;
  const timer = setInterval(() => {
    packets.write(0, frame++, bytes, 0);
    // The packet's payload is its end.
    const payload = bytes.subarray(bytes.indexOf(topic) + topic.length);
    client.publish(topic, Buffer.from(payload));
  }, 10);
  const limit = new Promise<never>((_, reject) => {
    setTimeout(() => reject(new Error(`no answer within 30 s: ${words()}`)), 30_000).unref();
  });
  try {
    await Promise.race([heard, limit]);
  } finally {
    clearInterval(timer);
    await client.unsubscribeAsync(TOPICS.diagnosis('warm'));
  }
}
