import { spawn } from 'node:child_process';
import { chmodSync, readFileSync } from 'node:fs';
import { cp, mkdtemp, readdir, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { MqttClient } from 'mqtt';
import { afterEach, describe, expect, it, vi } from 'vitest';
import { stringify } from 'yaml';
import { slopeOf } from '../../benchmarks/soak/slope.ts';
import { encodeSerialFrame } from '../../firmware-bridge/codec/index.ts';
import { openPty, type Pty } from '../../firmware-bridge/serial/pty.ts';
import { gatewayTopics } from '../../runtime/contracts/topics.ts';
import { connectBroker } from '../../runtime/io/broker-client.ts';
import { Outbox } from '../../runtime/io/outbox.ts';
import { folderFiles } from '../../runtime/io/outbox-files.ts';
import { openBooks } from '../../trainer/server/open-books.ts';
import { said, tellServer } from '../support/evidence.ts';
import { freePort, noiseFrame, writeYaml } from '../support/live-gateway.ts';
import { beginLogging, type LoggingProcess, logged } from '../support/logging-process.ts';
import { MOSQUITTO, startMosquitto } from '../support/mosquitto.ts';
import { samplesOf } from '../support/recordings.ts';
import { SimulatedGateway } from '../support/simulated-gateway.ts';
import { machine, trainedBundle, writeSet } from '../trainer/tune/machines.ts';

/** Seconds for which the broker is gone; the soak has an hour. */
const OUTAGE_S = Number(process.env.TREMOLO_OUTAGE_S ?? (process.env.TREMOLO_SOAK ? 3600 : 12));
const IS_LONG = OUTAGE_S >= 600;

/** Machines run so many times faster than time: a short outage must have drifts, too. */
const SPEED = IS_LONG ? 4 : 12;
/** Windows of a machine as it was, after which a drift is over and forgotten, and of one that has drifted. */
const [WELL, DRIFTED] = [110, 40];

/** A gateway that is away tries again after 10 s at the most; some more for a machine that is busy. */
const LONGEST_RETRY_S = 10;
/** Resident memory that a gateway may gain in an hour without a broker. */
const GROWTH_MB_AN_HOUR = 4;

const patient = { timeout: 120_000, interval: 100 };
const WORKS = gatewayTopics('works', 'hall');

const open: (() => Promise<unknown>)[] = [];
afterEach(async () => {
  for (const close of open.splice(0).reverse()) await close();
});

/** Two machines on one serial line. They drift, fall ill by it, and are well again, over and over. */
class Machines {
  /** Drifts that each machine has had from its beginning to its end. */
  drifts = 0;
  readonly #pty: Pty;
  readonly #well = samplesOf(machine(0)[0]);
  readonly #drifted = [samplesOf(machine(0.6)[0]), samplesOf(machine(0.6)[3])];
  readonly #timer: NodeJS.Timeout;
  #sequence = 0;
  #lastMs = performance.now();
  /** Where the machines were started last. */
  #first = 0;
  #silent = false;

  constructor(pty: Pty) {
    this.#pty = pty;
    this.#timer = setInterval(() => this.#play(), 20);
  }

  /** Switches the machines off while nobody reads the line; a gateway that has just begun is to see them well first. */
  set silent(silent: boolean) {
    this.#silent = silent;
    this.#first = this.#sequence;
  }

  stop(): void {
    clearInterval(this.#timer);
  }

  #play(): void {
    const frames = Math.min(40, Math.floor(((performance.now() - this.#lastMs) * SPEED) / 64));
    this.#lastMs += (frames * 64) / SPEED;
    if (frames === 40) this.#lastMs = performance.now();
    for (let frame = 0; frame < frames && !this.#silent; frame++) {
      const played = this.#sequence - this.#first;
      const window = Math.floor(played / 256) % (WELL + DRIFTED);
      if (played > 0 && played % 256 === 0 && window === 0) this.drifts++;
      for (const streamId of [0, 1]) {
        const samples = window < WELL ? this.#well : this.#drifted[streamId];
        const from = this.#sequence % (samples.length - 64);
        const codes = Int16Array.from(samples.subarray(from, from + 64), (value) => Math.round(1000 * value));
        // Nobody waits: where the line ends is seen by the gateway.
        void this.#pty.write(encodeSerialFrame(noiseFrame(this.#sequence, { streamId, channelCount: 1, samples: codes }))).catch(() => {});
      }
      this.#sequence += 64;
    }
  }
}

/** Messages on a gateway's disk that no broker has acknowledged, in order. */
async function waitingIn(folder: string) {
  const outbox = await Outbox.open({ files: folderFiles(join(folder, 'outbox')), largestBytes: 64 << 20 });
  const messages = await outbox.read(0, Number.MAX_SAFE_INTEGER);
  const ids = (kind: string) =>
    messages
      .filter(({ topic }) => topic.includes(`/${kind}/`))
      .map(({ payload }) => JSON.parse(Buffer.from(payload).toString()).id as string);
  return { bytes: outbox.health.bytes, drift: ids('drift'), alarm: ids('alarm'), labelled: ids('labelled') };
}

/** A person at the plant: hears all, keeps asking until a label is answered, whoever was away. */
class Operator {
  readonly signals: { readonly id: string; readonly stream: string }[] = [];
  readonly alarms: string[] = [];
  readonly answered = new Set<string>();
  readonly said = new Map<string, string>();
  readonly client: MqttClient;

  constructor(url: string) {
    this.client = connectBroker(url, () => {}, { clientId: 'operator', clean: false });
    this.client.on('message', (topic, payload) => {
      const { id, stream } = JSON.parse(payload.toString());
      if (topic.includes('/labelled/')) this.answered.add(id);
      else if (topic.includes('/drift/')) this.signals.push({ id, stream });
      else this.alarms.push(id);
    });
  }

  async listen(): Promise<void> {
    await this.client.subscribeAsync([WORKS.allDrift, WORKS.allAlarms, WORKS.allLabelled], { qos: 1 });
  }

  /** What a signal shows. Does not wait for the answer. */
  label(id: string, { id: signal, stream }: { readonly id: string; readonly stream: string }): void {
    const at = new Date().toISOString();
    const label = { id, stream, at, annotator: 'anna', verdict: 'correct', class: 'rub', subject: { kind: 'signal', signal } };
    this.said.set(id, JSON.stringify(label));
    this.client.publish(WORKS.label(stream), this.said.get(id)!, { qos: 1 });
  }

  async untilAnswered(): Promise<void> {
    await vi.waitFor(
      async () => {
        const unanswered = [...this.said].filter(([id]) => !this.answered.has(id));
        for (const [, label] of unanswered) await this.client.publishAsync(WORKS.label(JSON.parse(label).stream), label, { qos: 1 });
        expect(unanswered).toEqual([]);
      },
      { ...patient, interval: 2000 },
    );
  }
}

/** What the broker of the documents keeps on disk, and how much. */
const DOCUMENTED = readFileSync(new URL('../../trainer/fleet/broker/mosquitto.conf', import.meta.url), 'utf8')
  .split('\n')
  .filter((line) => /^(persistence |autosave_interval|max_|message_size)/.test(line));

const residentMb = (pid: number) => Number(/VmRSS:\s+(\d+)/.exec(readFileSync(`/proc/${pid}/status`, 'utf8'))![1]) / 1000;
const pause = (seconds: number) => new Promise((resolve) => setTimeout(resolve, 1000 * seconds));
const inOrder = (whole: readonly string[], of: readonly string[]) => [...new Set(whole)].filter((id) => new Set(of).has(id));

describe.skipIf(!MOSQUITTO)('a broker that loses its power', () => {
  it(
    `and is gone for ${OUTAGE_S} s: gateway and server are killed meanwhile and when it returns, and all arrives, once, in order`,
    { timeout: 1000 * (OUTAGE_S + 600) },
    async () => {
      const home = await mkdtemp(join(tmpdir(), 'tremolo-outage-'));
      open.push(() => rm(home, { recursive: true, force: true }));
      const kept = await mkdtemp(join(tmpdir(), 'tremolo-outage-broker-'));
      chmodSync(kept, 0o777);
      const [port, serverPort, gatewayPort] = [await freePort(), await freePort(), await freePort()];
      const url = `mqtt://127.0.0.1:${port}`;
      const startBroker = () => startMosquitto(['allow_anonymous true', ...DOCUMENTED, `persistence_location ${kept}/`], port);
      let stopBroker = await startBroker();
      open.push(() => stopBroker());

      const { folder: bundle } = await trainedBundle();
      const known = await writeSet(machine(0, 8, 9));
      const own = join(home, 'gateway-bundle');
      await copyBundle(bundle, own);
      const pty = await openPty();
      open.push(() => pty.close());
      const state = join(home, 'gateway');
      const gatewayYaml = await writeYaml(
        {
          ...{ site: 'works', gateway: 'hall', bundle: own, broker: { url }, stateFolder: state, http: { port: gatewayPort } },
          serial: [{ name: 'line', path: pty.path }],
          drift: { evidence: 'raw' },
          // Nothing is learned here: that would begin the drifts anew.
          learn: { settleSeconds: 3600 },
        },
        home,
      );
      const serverYaml = join(home, 'server.yaml');
      const configure = (labels: number) =>
        writeFile(
          serverYaml,
          stringify({
            ...{ repository: 'fleet', broker: { url }, http: { port: serverPort }, lease: '4s' },
            retrain: { bundle, known, labels, severity: 1e9, tolerance: 0.05, suspicion: 0.08 },
            rollout: { waves: '100%', settle: '0s', shadowSeconds: 1 },
          }),
        );
      const begin = (program: string, ...args: string[]): LoggingProcess => {
        const one = beginLogging(program, args);
        open.push(() => one.kill());
        return one;
      };
      const beginGateway = () => begin('gateway.js', gatewayYaml);
      const beginServer = () => begin('tremolo.js', 'serve', serverYaml);
      const books = async () => {
        const { store, jobs, close } = await openBooks({ database: join(home, 'state/server.db'), lease: 1000 }, undefined, () => {});
        const ids = async (site: string, kind: 'signal' | 'label') => (await store.arrivals(site, kind)).map(({ id }) => id);
        const found = { signals: await ids('works', 'signal'), labels: await ids('works', 'label'), plant: await ids('plant', 'label') };
        const [list, models] = [await jobs.list(), await store.models('plant')];
        await close();
        return { ...found, jobs: list, models };
      };
      const metric = async (name: string) => {
        const text = await (await fetch(`http://127.0.0.1:${gatewayPort}/metrics`)).text();
        return Number(new RegExp(`^tremolo_${name} (\\S+)$`, 'm').exec(text)?.[1]);
      };

      // All is well: signals, labels and what another site says reach the books.
      expect(await begin('tremolo.js', 'keys', 'init', '--out', join(home, 'fleet'), '--site', 'plant').ended).toBe(0);
      expect(await begin('tremolo.js', 'keys', 'site', 'works', '--repository', join(home, 'fleet')).ended).toBe(0);
      await configure(1000);
      const operator = new Operator(url);
      open.push(() => operator.client.endAsync(true));
      await operator.listen();
      const simulated = new SimulatedGateway(url, 'plant', 'hall', await readFile(join(home, 'fleet/1.root.json')), 'confirms');
      open.push(() => simulated.stop());
      await simulated.start();
      let server = beginServer();
      await vi.waitFor(async () => expect((await fetch(`http://127.0.0.1:${serverPort}/healthz`)).status).toBe(200), patient);
      let gateway = beginGateway();
      await logged(gateway, 'listening');
      const machines = new Machines(pty);
      open.push(async () => machines.stop());
      await tellServer(operator.client);
      await vi.waitFor(() => expect(operator.signals.length).toBeGreaterThanOrEqual(2), patient);
      operator.label('before', operator.signals[0]);
      await operator.untilAnswered();
      await vi.waitFor(async () => expect((await books()).plant).toHaveLength(said.length), patient);
      // Who subscribed stands on the broker's disk.
      const saved = () => readFileSync(join(kept, 'mosquitto.db'), 'latin1');
      await vi.waitFor(() => expect(saved()).toMatch(/(?=[\s\S]*tremolo-server-intake)(?=[\s\S]*operator)/), patient);

      // Labels are on their way when it goes.
      for (const one of operator.signals.slice(-2)) operator.label(`under way ${one.id}`, one);
      await stopBroker();
      const goneMs = performance.now();
      const driftsBefore = machines.drifts;
      const before = await books();
      const elapsed = () => (performance.now() - goneMs) / 1000;
      const untilWaiting = (count: number) =>
        vi.waitFor(async () => expect(await metric('outbox_waiting')).toBeGreaterThanOrEqual(count), { timeout: 300_000, interval: 5 });
      await untilWaiting(3);
      machines.silent = true;
      await gateway.kill();
      await readDry(pty.path);
      const first = await waitingIn(state);
      gateway = beginGateway();
      await logged(gateway, 'deciding');
      await vi.waitFor(async () => expect(await metric('port_open{port="line"}'.replace(/[{}"]/g, '\\$&'))).toBe(1), patient);
      machines.silent = false;

      // The server, which asks for a retraining that nobody can be told of yet; and its worker in mid-job.
      await server.kill();
      await configure(said.length);
      server = beginServer();
      const { worker } = await logged(server, 'job');
      process.kill(Number(String(worker).split('-').at(-1)), 'SIGKILL');
      expect(await logged(server, 'finished')).toMatchObject({ counts: true, outcome: 'accepted' });
      await server.kill();
      server = beginServer();
      await logged(server, 'serving');

      const [times, gatewayMb, serverMb]: number[][] = [[], [], []];
      while (elapsed() < OUTAGE_S) {
        await pause(Math.max(0.5, Math.min(OUTAGE_S / 120, OUTAGE_S - elapsed())));
        if (elapsed() < OUTAGE_S / 3) continue;
        times.push(elapsed() / 3600);
        gatewayMb.push(residentMb(gateway.child.pid!));
        serverMb.push(residentMb(server.child.pid!));
      }
      const failed = await metric('broker_failed_total');
      const drifts = 2 * (machines.drifts - driftsBefore);
      const second = await waitingIn(state);
      expect(second.drift.slice(0, first.drift.length)).toEqual(first.drift);
      expect(second.alarm.slice(0, first.alarm.length)).toEqual(first.alarm);
      expect(await metric('outbox_dropped_total')).toBe(0);

      const lines = server.log.length;

      // It returns, and both are killed while all of it pours in.
      stopBroker = await startBroker();
      const backMs = Date.now();
      const { time } = await logged(gateway, 'listening');
      const reconnectedS = (Date.parse(time as string) - backMs) / 1000;
      await vi.waitFor(() => expect(operator.signals.length).toBeGreaterThan(before.signals.length), { ...patient, interval: 1 });
      // What the broker kept of the one that was killed is taken for no rival.
      expect(await metric('broker_rivals_total')).toBe(0);
      machines.silent = true;
      await Promise.all([gateway.kill(), server.kill()]);
      gateway = beginGateway();
      server = beginServer();
      await logged(gateway, 'listening');
      await vi.waitFor(async () => expect(await metric('outbox_waiting')).toBe(0), patient);
      await vi.waitFor(async () => expect((await books()).signals).toEqual(expect.arrayContaining(second.drift)), patient);
      // What was signalled while nobody heard can be labelled.
      const late = operator.signals.filter(({ id }) => second.drift.includes(id)).slice(-2);
      for (const one of late) operator.label(`late ${one.id}`, one);
      await operator.untilAnswered();
      await vi.waitFor(async () => expect((await books()).labels.sort()).toEqual([...operator.said.keys()].sort()), patient);
      await vi.waitFor(() => expect(operator.alarms).toEqual(expect.arrayContaining(second.alarm)), patient);
      await vi.waitFor(() => expect(simulated.ran).toHaveLength(1), patient);
      await vi.waitFor(async () => expect((await books()).models).toMatchObject([{ state: 'running' }]), patient);

      const after = await books();
      expect(new Set(after.signals).size).toBe(after.signals.length);
      expect(inOrder(after.signals, second.drift)).toEqual(second.drift);
      expect(inOrder(operator.alarms, second.alarm)).toEqual(second.alarm);
      expect(after.signals.slice(0, before.signals.length)).toEqual(before.signals);
      expect(after.jobs).toMatchObject([{ state: 'done', effect: simulated.ran[0] }]);
      expect(await readdir(join(home, 'fleet/rollouts'))).toHaveLength(1);
      expect(await metric('outbox_dropped_total')).toBe(0);
      // Most drifts are found, one that a kill cut short is not.
      expect(second.drift.length).toBeGreaterThanOrEqual(0.8 * drifts - 2);
      // No try was later than the longest wait allows: the first few are sooner.
      // A short outage on a busy machine has no sample of it.
      const watchedS = times.length > 0 ? 3600 * (times.at(-1)! - times[0]) : 0;
      expect(failed).toBeGreaterThanOrEqual(Math.floor(watchedS / (LONGEST_RETRY_S + 1)));
      const growth = [slopeOf(times, gatewayMb), slopeOf(times, serverMb)];
      if (IS_LONG) for (const { slope, error } of growth) expect(slope - 3 * error).toBeLessThan(GROWTH_MB_AN_HOUR);
      const memory = (name: string, list: readonly number[], { slope, error }: { slope: number; error: number }) =>
        `${name} ${list[0].toFixed(1)} -> ${list.at(-1)!.toFixed(1)} MB${IS_LONG ? ` (${slope.toFixed(2)} ± ${error.toFixed(2)} MB/h)` : ''}`;
      process.stderr.write(
        `${OUTAGE_S} s without a broker: ${drifts} drifts, ${second.drift.length} signals and ${second.alarm.length} alarms on disk ` +
          `(${(second.bytes / 1e6).toFixed(2)} MB), ${failed} tries, connected ${reconnectedS.toFixed(1)} s after it was back; ` +
          `${memory('gateway', gatewayMb, growth[0])}, ${memory('server', serverMb, growth[1])}; its log has ${lines} lines\n`,
      );
    },
  );
});

/** What lies in the line from before a gateway was killed is of a machine that has drifted: nothing that the next one should begin with. */
async function readDry(path: string): Promise<void> {
  const reader = spawn('cat', [path], { stdio: ['ignore', 'pipe', 'ignore'] });
  await new Promise<void>((resolve) => {
    const quiet = setTimeout(resolve, 500);
    reader.stdout.on('data', () => quiet.refresh());
  });
  reader.kill('SIGKILL');
}

/** The bundle with a drift reference that a few windows make. */
async function copyBundle(from: string, to: string): Promise<void> {
  await cp(from, to, { recursive: true });
  const path = join(to, 'manifest.json');
  const drift = { referenceWindows: 24, thresholds: [{ runLength: 2000, novelty: 4, shift: 5 }] };
  await writeFile(path, JSON.stringify({ ...JSON.parse(await readFile(path, 'utf8')), drift }));
}
