import { encodeFrame, encodeSerialFrame } from '../../firmware-bridge/codec/index.ts';
import { openPty, type Pty } from '../../firmware-bridge/serial/pty.ts';
import { diagnosisSchema, type Ledger, type Status, statusSchema } from '../../runtime/contracts/messages.ts';
import { gatewayTopics } from '../../runtime/contracts/topics.ts';
import { connectBroker } from '../../runtime/io/broker-client.ts';
import { startEmbeddedBroker } from '../io/broker.ts';
import { startGatewayProcess } from '../io/gateway-process.ts';
import { Refusal } from '../refusal.ts';
import type { DemoSensor } from './sources.ts';
import type { MachineLine } from './view.ts';

const SITE = 'demo';
const GATEWAY = 'gateway-1';
const PORT = 'press';
/** Longest wait for the last decisions after the last frame. */
const DRAIN_MS = 3000;

export interface SessionResult {
  readonly windows: number;
  /** Windows whose truth is known, and how many of those were decided right. */
  readonly judged: number;
  readonly right: number;
  /** From the sending of a window's last frame to the receipt of its decision at the observer, milliseconds, ascending. */
  readonly latenciesMs: readonly number[];
  readonly byClass: Readonly<Record<string, { readonly judged: number; readonly right: number }>>;
  readonly ledger: Ledger;
  readonly status: Status;
}

interface Shown {
  waveform: Int16Array;
  decision: string;
  confidence: number;
  truth: string;
  latencyMs: number;
  decided: number;
  right: number;
}

/**
 * Plays sensors to a gateway in a process of its own: all but the last over MQTT, the last over a pty that the gateway opens as a serial
 * port. Watches from outside: decisions are taken from the broker, as any subscriber would.
 *
 * @param speed samples are sent so many times faster than they were taken
 * @param onShow called about ten times a second with what there is to show
 */
export async function playSession(
  sensors: readonly DemoSensor[],
  bundleFolder: string,
  options: { speed: number; programs: URL; engine: 'onnxruntime' | 'wasm' },
  onShow: (lines: readonly MachineLine[]) => void,
  signal: AbortSignal,
): Promise<SessionResult> {
  const { speed, programs, engine } = options;
  const topics = gatewayTopics(SITE, GATEWAY);
  const closers: (() => Promise<unknown>)[] = [];
  try {
    const broker = await startEmbeddedBroker();
    closers.unshift(() => broker.close());
    const pty: Pty | undefined = sensors.length > 1 ? await openPty() : undefined;
    if (pty) closers.unshift(() => pty.close());
    const serial = pty ? [{ name: PORT, path: pty.path, baudRate: 921_600 }] : [];
    const gateway = await startGatewayProcess(
      { site: SITE, gateway: GATEWAY, bundle: bundleFolder, broker: { url: broker.url }, serial, engine },
      programs,
    );
    closers.unshift(() => gateway.stop());
    const client = connectBroker(broker.url, () => {});
    closers.unshift(() => client.endAsync());

    // What the gateway calls a stream, by sensor: the topic's last level, or the port's name and the stream id.
    const last = sensors.length - 1;
    const streamOf = (index: number) => (pty && index === last ? `${PORT}-${index}` : sensors[index].name);
    const indexOf = new Map(sensors.map((_, index) => [streamOf(index), index]));
    const shown: Shown[] = sensors.map(() => ({
      waveform: new Int16Array(0),
      decision: '',
      confidence: 0,
      truth: '',
      latencyMs: 0,
      decided: 0,
      right: 0,
    }));
    const sentAt = new Map<string, number>();
    const latenciesMs: number[] = [];
    const byClass: Record<string, { judged: number; right: number }> = {};
    let windows = 0;
    let status: Status | undefined;

    client.on('message', (topic, payload) => {
      const now = performance.now();
      const message: unknown = JSON.parse(payload.toString());
      if (topic === topics.status) {
        status = statusSchema.parse(message);
        return;
      }
      const { stream, epoch, endSequence, decision, confidence } = diagnosisSchema.parse(message);
      const index = indexOf.get(stream);
      const key = `${stream}/${epoch}/${endSequence}`;
      const sent = sentAt.get(key);
      if (index === undefined || sent === undefined) throw new Error(`a decision on ${key}, which nobody sent`);
      sentAt.delete(key);
      windows++;
      latenciesMs.push(now - sent);
      const truth = sensors[index].truth(epoch, endSequence);
      const own = shown[index];
      Object.assign(own, { decision, confidence, truth: truth ?? '', latencyMs: now - sent });
      if (truth === undefined) return;
      byClass[truth] ??= { judged: 0, right: 0 };
      byClass[truth].judged++;
      own.decided++;
      if (decision === truth) {
        byClass[truth].right++;
        own.right++;
      }
    });
    await client.subscribeAsync([topics.allDiagnoses, topics.status], { qos: 1 });

    const show = () =>
      onShow(sensors.map(({ name }, index) => ({ name, link: pty && index === last ? 'serial' : 'mqtt', ...shown[index] })));
    const started = performance.now();
    // Each sensor has its own phase, as sensors that were switched on one after the other have.
    const senders = sensors.map((sensor, index) => ({ sensor, index, dueMs: started + index * 7.3, done: false }));
    let nextShow = 0;
    while (senders.some(({ done }) => !done)) {
      signal.throwIfAborted();
      if (gateway.process.exitCode !== null) throw new Error(`the gateway ended: ${gateway.log().trim().split('\n').at(-1)}`);
      const now = performance.now();
      for (const sender of senders) {
        while (!sender.done && sender.dueMs <= now) {
          const frame = sender.sensor.next();
          if (!frame) {
            sender.done = true;
            break;
          }
          const stream = streamOf(sender.index);
          shown[sender.index].waveform = frame.samples.filter((_, at) => at % frame.channelCount === 0);
          sentAt.set(`${stream}/${frame.epoch}/${frame.sequence + frame.samplesPerChannel}`, performance.now());
          if (pty && sender.index === last) await pty.write(encodeSerialFrame(frame));
          else client.publish(topics.samples(stream), Buffer.from(encodeFrame(frame)), { qos: 0 });
          sender.dueMs += (frame.samplesPerChannel / frame.sampleRateHz / speed) * 1000;
        }
      }
      if (now >= nextShow) {
        show();
        nextShow = now + 100;
      }
      const due = Math.min(...senders.filter(({ done }) => !done).map(({ dueMs }) => dueMs));
      await new Promise((resolve) => setTimeout(resolve, Math.max(1, Math.min(20, due - performance.now()))));
    }
    const expected = () => status?.ledger?.windowsExpected;
    for (const end = performance.now() + DRAIN_MS; performance.now() < end; ) {
      await new Promise((resolve) => setTimeout(resolve, 50));
      // A status comes every second: only one that was sent after the last frame counts all windows.
      if (performance.now() > end - DRAIN_MS + 1200 && expected() === windows) break;
    }
    show();
    if (!status?.ledger) throw new Refusal('demo/silent', 'the gateway sent no status');
    const counts = Object.values(byClass);
    return {
      windows,
      judged: counts.reduce((sum, { judged }) => sum + judged, 0),
      right: counts.reduce((sum, { right }) => sum + right, 0),
      latenciesMs: latenciesMs.sort((a, b) => a - b),
      byClass,
      ledger: status.ledger,
      status,
    };
  } finally {
    for (const close of closers) await close();
  }
}
