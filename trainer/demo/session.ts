import type { AlarmChange } from '../../runtime/contracts/alarm-change.ts';
import type { Ledger, Status } from '../../runtime/contracts/messages.ts';
import { Refusal } from '../refusal.ts';
import { DemoObserver } from './observer.ts';
import { type DemoParts, startParts } from './parts.ts';
import { play } from './player.ts';
import type { DemoSensor } from './sources.ts';
import type { AlarmLine, MachineLine } from './view.ts';

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
  readonly alarms: readonly AlarmLine[];
  readonly ledger: Ledger;
  readonly status: Status;
}

/**
 * Plays sensors to a gateway, and shows what an observer of the broker sees of it.
 *
 * @param speed samples are sent so many times faster than they were taken
 * @param onShow called about ten times a second with what there is to show
 */
export async function playSession(
  sensors: readonly DemoSensor[],
  bundleFolder: string,
  options: { speed: number; programs: URL; engine: 'onnxruntime' | 'wasm' },
  onShow: (lines: readonly MachineLine[], alarms: readonly AlarmLine[]) => void,
  signal: AbortSignal,
): Promise<SessionResult> {
  const { speed, programs, engine } = options;
  const parts = await startParts(
    sensors.map(({ name }) => name),
    bundleFolder,
    engine,
    programs,
  );
  const sensorOf = new Map(parts.streams.map(({ stream }, index) => [stream, sensors[index]]));
  const observer = await DemoObserver.start(parts.url, (stream, epoch, end) => sensorOf.get(stream)?.truth(epoch, end)).catch(
    async (error) => {
      await parts.stop();
      throw error;
    },
  );
  const waveforms = sensors.map(() => new Int16Array(0));

  const show = () => {
    observer.check();
    onShow(
      machineLines(sensors, parts, observer, waveforms),
      observer.alarms.map((change) => alarmLine(change, sensorOf.get(change.stream))),
    );
  };

  try {
    await play(
      sensors,
      parts,
      {
        speed,
        onFrame: (index, frame) => {
          waveforms[index] = frame.samples.filter((_, at) => at % frame.channelCount === 0);
          observer.sent(parts.streams[index].stream, frame.epoch, frame.sequence + frame.samplesPerChannel);
        },
        onTick: () => {
          show();
          return false;
        },
      },
      signal,
    );
    for (const end = performance.now() + DRAIN_MS; performance.now() < end; ) {
      await new Promise((resolve) => setTimeout(resolve, 50));
      // A status comes every second: only one that was sent after the last frame counts all windows.
      if (performance.now() > end - DRAIN_MS + 1200 && observer.status?.ledger?.windowsExpected === observer.windows) break;
    }
    show();
    const { status, windows, byClass, latenciesMs, alarms } = observer;
    if (!status?.ledger) throw new Refusal('demo/silent', 'the gateway sent no status');
    const counts = Object.values(byClass);
    return {
      windows,
      judged: counts.reduce((sum, { judged }) => sum + judged, 0),
      right: counts.reduce((sum, { right }) => sum + right, 0),
      latenciesMs: latenciesMs.sort((a, b) => a - b),
      byClass,
      alarms: alarms.map((change) => alarmLine(change, sensorOf.get(change.stream))),
      ledger: status.ledger,
      status,
    };
  } finally {
    await observer.stop();
    await parts.stop();
  }
}

/** Lines of the table: what was decided last of each sensor, beside what it sent last. */
export function machineLines(
  sensors: readonly DemoSensor[],
  { streams }: Pick<DemoParts, 'streams'>,
  observer: DemoObserver,
  waveforms: readonly Int16Array[],
): MachineLine[] {
  return sensors.map(({ name }, index) => {
    const { stream, link } = streams[index];
    const seen = observer.streams.get(stream);
    return {
      name,
      link,
      waveform: waveforms[index],
      decision: seen?.latest?.decision ?? '',
      confidence: seen?.latest?.confidence ?? 0,
      alarm: seen?.latest?.alarm ?? '',
      truth: seen?.truth ?? '',
      judged: seen?.judged ?? 0,
      right: seen?.right ?? 0,
    };
  });
}

/** A change of an alarm, in the sensor's own time. */
export function alarmLine({ stream, from, to, diagnosis }: AlarmChange, sensor: DemoSensor | undefined): AlarmLine {
  const seconds = diagnosis && diagnosis.endDeviceUs / 1e6;
  const onset = sensor?.faultSeconds;
  return {
    machine: sensor?.name ?? stream,
    from,
    to,
    decision: diagnosis?.smoothed.decision ?? '',
    ...(seconds !== undefined && { seconds }),
    ...(seconds !== undefined && onset !== undefined && seconds >= onset && { afterFaultSeconds: seconds - onset }),
  };
}
