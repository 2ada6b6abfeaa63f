import type { DemoParts } from './parts.ts';
import type { DemoSensor } from './sources.ts';

/** How often there is something new to show, milliseconds. */
const SHOW_MS = 100;

export interface PlayOptions {
  /** Samples are sent so many times faster than they were taken. */
  readonly speed: number;
  /** Called before each frame goes out. */
  readonly onFrame: (sensor: number, frame: NonNullable<ReturnType<DemoSensor['next']>>) => void;
  /** Called about ten times a second. @returns true to end */
  readonly onTick: () => boolean;
}

/**
 * Sends the frames of sensors at their pace, each sensor in its own phase, as sensors that were switched on one after the other have. Resolves when all have
 * ended, or `onTick` says so.
 *
 * @throws Error where the gateway ends, or the signal's reason
 */
export async function play(
  sensors: readonly DemoSensor[],
  parts: DemoParts,
  { speed, onFrame, onTick }: PlayOptions,
  signal: AbortSignal,
): Promise<void> {
  const started = performance.now();
  const senders = sensors.map((sensor, index) => ({ sensor, index, dueMs: started + index * 7.3, done: false }));
  let nextTick = 0;
  while (senders.some(({ done }) => !done)) {
    signal.throwIfAborted();
    const lastWords = parts.ended();
    if (lastWords !== undefined) throw new Error(`the gateway ended: ${lastWords}`);
    const now = performance.now();
    for (const sender of senders) {
      while (!sender.done && sender.dueMs <= now) {
        const frame = sender.sensor.next();
        if (!frame) {
          sender.done = true;
          break;
        }
        onFrame(sender.index, frame);
        await parts.send(sender.index, frame);
        sender.dueMs += (frame.samplesPerChannel / frame.sampleRateHz / speed) * 1000;
      }
    }
    if (now >= nextTick) {
      if (onTick()) return;
      nextTick = now + SHOW_MS;
    }
    const due = Math.min(...senders.filter(({ done }) => !done).map(({ dueMs }) => dueMs));
    await new Promise((resolve) => setTimeout(resolve, Math.max(1, Math.min(20, due - performance.now()))));
  }
}
