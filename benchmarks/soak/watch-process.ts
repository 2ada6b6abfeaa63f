import { appendFileSync } from 'node:fs';
import { monitorEventLoopDelay, PerformanceObserver } from 'node:perf_hooks';
import { isMainThread } from 'node:worker_threads';

/**
 * Loaded into the gateway before its own program (`node --import`): every second one line of JSON about its main thread, into the file that
 * TREMOLO_SOAK names.
 */

/** One interval of the gateway's main thread. */
export interface SoakLine {
  /** Milliseconds since 1970. */
  readonly atMs: number;
  readonly rssMb: number;
  readonly heapUsedMb: number;
  /** Buffers outside V8's heap: sample rings, tensors. */
  readonly externalMb: number;
  /** Garbage collections of the interval, and what they stopped the thread for. */
  readonly gc: { readonly count: number; readonly totalMs: number; readonly longestMs: number };
  /** How late the event loop was in the interval. */
  readonly loopDelayMs: { readonly p50: number; readonly p99: number; readonly max: number };
}

const INTERVAL_MS = 1000;
const file = process.env.TREMOLO_SOAK;

if (file && isMainThread) {
  let [count, totalMs, longestMs] = [0, 0, 0];
  new PerformanceObserver((list) => {
    for (const { duration } of list.getEntries()) {
      count++;
      totalMs += duration;
      longestMs = Math.max(longestMs, duration);
    }
  }).observe({ entryTypes: ['gc'] });
  const delay = monitorEventLoopDelay({ resolution: 5 });
  delay.enable();
  setInterval(() => {
    const { rss, heapUsed, external } = process.memoryUsage();
    const line: SoakLine = {
      atMs: Date.now(),
      rssMb: rss / 1e6,
      heapUsedMb: heapUsed / 1e6,
      externalMb: external / 1e6,
      gc: { count, totalMs, longestMs },
      loopDelayMs: { p50: delay.percentile(50) / 1e6, p99: delay.percentile(99) / 1e6, max: delay.max / 1e6 },
    };
    [count, totalMs, longestMs] = [0, 0, 0];
    delay.reset();
    appendFileSync(file, `${JSON.stringify(line)}\n`);
  }, INTERVAL_MS).unref();
}
