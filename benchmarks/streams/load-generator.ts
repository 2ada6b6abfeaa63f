import type { Writable } from 'node:stream';
import type { Status } from '../../runtime/contracts/messages.ts';
import { gatewayTopics, streamOfTopic } from '../../runtime/contracts/topics.ts';
import { connectBroker } from '../../runtime/io/broker-client.ts';
import type { LoadOrder, LoadReport } from './load-protocol.ts';
import { SamplePackets } from './packets.ts';
import { quantiles } from './quantiles.ts';
import { Schedule } from './schedule.ts';

/**
 * A process of its own that plays all sensors and hears all diagnoses, so that one clock stands on both sides of a latency. It writes whole
 * packets onto the connections, one write a connection and tick.
 */

/** A broker reads one packet of a connection at a time and goes on to the next: a single connection would not be how sensors come. */
const CONNECTIONS = 8;
/** Longest wait for diagnoses after the last frame. */
const DRAIN_MS = 15_000;

const order = JSON.parse(process.argv[2]) as LoadOrder;
const schedule = new Schedule(order.plan);
const { streams, frameSamples } = order.plan;
const topics = gatewayTopics(order.site, order.gateway);
const packets = new SamplePackets(
  Array.from({ length: streams }, (_, stream) => topics.samples(`s${stream}`)),
  frameSamples,
);

const received = new Uint8Array(schedule.windowsExpected);
const latenciesMs = new Float64Array(schedule.windowsExpected);
/** Which mark stood when a latency was measured. */
const marks = new Uint8Array(schedule.windowsExpected);
const bundles = new Map<string, number>();
let mark = 0;
const latenessMs = new Float64Array(schedule.framesExpected);
let [windowsDecided, duplicates, strangers, framesSent, mostBytesWaiting, startMs] = [0, 0, 0, 0, 0, 0];
let ledger: LoadReport['ledger'];
let adapters = 0;

const fail = (error: Error) => {
  process.stderr.write(`load generator: ${error.message}\n`);
  process.exit(1);
};
const connect = () => connectBroker(order.broker, fail, { reconnectPeriod: 0 });
const listener = connect();
listener.on('message', (topic, payload) => {
  const nowMs = performance.now() - startMs;
  if (topic === topics.status) {
    const status = JSON.parse(payload.toString()) as Partial<Status>;
    ledger = status.ledger;
    adapters = Object.keys(status.running?.adapters ?? {}).length;
    return;
  }
  const stream = Number(streamOfTopic(topic).slice(1));
  const { endSequence, bundle = '' } = JSON.parse(payload.toString()) as { endSequence: number; bundle?: string };
  const window = schedule.windowOf(endSequence);
  const slot = stream * schedule.windowsPerStream + window;
  if (!(stream < streams) || window < 0) strangers++;
  else if (received[slot]) duplicates++;
  else {
    received[slot] = 1;
    bundles.set(bundle, (bundles.get(bundle) ?? 0) + 1);
    marks[windowsDecided] = mark;
    latenciesMs[windowsDecided++] = nowMs - schedule.windowDueMs(stream, window);
  }
});
await listener.subscribeAsync([topics.allDiagnoses, topics.status], { qos: 0 });
const senders = await Promise.all(
  Array.from({ length: Math.min(CONNECTIONS, streams) }, async () => {
    const client = connect();
    if (!client.connected) await new Promise((resolve) => client.once('connect', resolve));
    return { client, socket: client.stream as Writable, frames: [] as [stream: number, frame: number][] };
  }),
);

function sendDue(): void {
  const nowMs = performance.now() - startMs;
  for (let due = schedule.next(nowMs); due; due = schedule.next(nowMs)) {
    senders[due.stream % senders.length].frames.push([due.stream, due.frame]);
    latenessMs[framesSent++] = nowMs - due.dueMs;
  }
  for (const { socket, frames } of senders) {
    if (frames.length === 0) continue;
    const bytes = Buffer.allocUnsafe(frames.reduce((sum, [stream]) => sum + packets.bytesOf(stream), 0));
    let at = 0;
    for (const [stream, frame] of frames) at = packets.write(stream, frame, bytes, at);
    frames.length = 0;
    socket.write(bytes);
    mostBytesWaiting = Math.max(mostBytesWaiting, socket.writableLength);
  }
}

/** Whether the latest status was made after the last frame had come and its windows had gone. */
const settled = () =>
  ledger !== undefined &&
  ledger.windowsWaiting === 0 &&
  ledger.samplesReceived + ledger.samplesLost >= framesSent * frameSamples &&
  windowsDecided + lost(ledger) >= schedule.windowsExpected;

/** Windows that the gateway says will never come. */
function lost({ windowsExpected, windowsRefused }: NonNullable<LoadReport['ledger']>): number {
  return schedule.windowsExpected - windowsExpected + Object.values(windowsRefused).reduce((sum, count) => sum + count, 0);
}

async function finish(): Promise<void> {
  const cpu = process.cpuUsage(before);
  for (const end = performance.now() + DRAIN_MS; performance.now() < end && !settled(); ) {
    ledger = undefined;
    await new Promise((resolve) => setTimeout(resolve, 1100));
  }
  const byMark = Array.from({ length: mark + 1 }, (_, index) =>
    quantiles(latenciesMs.subarray(0, windowsDecided).filter((_ms, at) => marks[at] === index)),
  );
  const report: LoadReport = {
    framesSent,
    windowsDecided,
    duplicates,
    strangers,
    latencyMsByMark: byMark,
    bundles: Object.fromEntries(bundles),
    latencyMs: quantiles(latenciesMs.subarray(0, windowsDecided)),
    sendLatenessMs: quantiles(latenessMs.subarray(0, framesSent)),
    mostBytesWaiting,
    cpuMs: (cpu.user + cpu.system) / 1000,
    ledger,
    adapters,
  };
  process.stdout.write(`${JSON.stringify(report)}\n`);
  process.stdin.pause();
  for (const client of [listener, ...senders.map((sender) => sender.client)]) await client.endAsync(true);
}

process.stdout.write('ready\n');
await new Promise<void>((resolve) => process.stdin.once('data', () => resolve()));
process.stdin.on('data', () => {
  mark++;
});
const before = process.cpuUsage();
startMs = performance.now();
const tick = () => {
  sendDue();
  if (schedule.done) void finish();
  else setTimeout(tick, 1);
};
tick();
