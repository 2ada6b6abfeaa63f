import { openSync, readlinkSync, readSync, writeFileSync } from 'node:fs';
import { createRequire } from 'node:module';
import { isMainThread } from 'node:worker_threads';

/**
 * Loaded into the gateway before its own program (`node --import`), in every thread: keeps time inside onnxruntime's native run and writes what
 * it has counted into a file for each thread. The gateway itself is the one that is shipped.
 */

export interface ThreadCount {
  readonly thread: number;
  readonly main: boolean;
  /** When it was written, milliseconds since 1970. */
  writtenMs: number;
  runs: number;
  windows: number;
  /** Of every eighth run: its windows, and the processor time that the thread spent inside, milliseconds. */
  sampledWindows: number;
  sampledCpuMs: number;
}

interface NativeSession {
  run(feeds: Record<string, { readonly dims: readonly number[] }>, ...rest: unknown[]): unknown;
}

interface NativeModule {
  binding: { readonly InferenceSession: new () => NativeSession };
}

const WRITE_MS = 500;
/** Reading the clock takes 4 microseconds: every run would pay 8 for it. */
const SAMPLED = 8;
const folder = process.env.TREMOLO_PROBE;

if (folder) {
  const count: ThreadCount = {
    thread: Number(readlinkSync('/proc/thread-self').split('/').at(-1)),
    main: isMainThread,
    writtenMs: 0,
    runs: 0,
    windows: 0,
    sampledWindows: 0,
    sampledCpuMs: 0,
  };
  // A peer of the field has its model on the main thread.
  if (!isMainThread || process.env.TREMOLO_PROBE_MAIN) keepTime(count);
  setInterval(() => {
    count.writtenMs = Date.now();
    writeFileSync(`${folder}/${count.thread}.json`, JSON.stringify(count));
  }, WRITE_MS).unref();
}

/**
 * Processor time of the calling thread, milliseconds. The kernel's count of a thread stands still between two ticks of the scheduler; getrusage,
 * which is what `cpuUsage` calls, brings that of the calling thread up to date.
 */
function threadClock(): () => number {
  const file = openSync('/proc/thread-self/schedstat', 'r');
  const text = Buffer.alloc(64);
  return () => {
    process.cpuUsage();
    readSync(file, text, 0, text.length, 0);
    return Number(text.toString('latin1', 0, text.indexOf(' '))) / 1e6;
  };
}

function keepTime(count: ThreadCount): void {
  const { resolve } = createRequire(import.meta.url);
  const native = createRequire(resolve('onnxruntime-node'))('./binding.js') as NativeModule;
  const cpuMs = threadClock();
  class TimedSession extends native.binding.InferenceSession {
    override run(...given: Parameters<NativeSession['run']>): unknown {
      const windows = given[0].window?.dims[0] ?? 0;
      count.windows += windows;
      if (count.runs++ % SAMPLED !== 0) return super.run(...given);
      const began = cpuMs();
      const made = super.run(...given);
      count.sampledCpuMs += cpuMs() - began;
      count.sampledWindows += windows;
      return made;
    }
  }
  // The properties of the native class are read-only.
  native.binding = Object.assign(Object.create(native.binding), { InferenceSession: TimedSession }) as NativeModule['binding'];
}
