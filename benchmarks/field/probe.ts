import { writeFileSync } from 'node:fs';
import type { ThreadCount } from '../streams/probe.ts';

/** Loaded into a peer whose model runs in JavaScript or WebAssembly: counts what the peer says it ran, in the file that the streams' probe writes. */

const folder = process.env.TREMOLO_PROBE;
const count: ThreadCount = { thread: process.pid, main: true, writtenMs: 0, runs: 0, windows: 0, sampledWindows: 0, sampledCpuMs: 0 };

/** Runs the model, all of it before it returns to the event loop, so that the process's time is the run's. */
async function fieldTimed<T>(windows: number, run: () => Promise<T>): Promise<T> {
  const before = process.cpuUsage();
  const made = await run();
  const { user, system } = process.cpuUsage(before);
  count.runs++;
  count.windows += windows;
  count.sampledWindows += windows;
  count.sampledCpuMs += (user + system) / 1000;
  return made;
}

Object.assign(globalThis, { fieldTimed });
if (folder) {
  setInterval(() => {
    count.writtenMs = Date.now();
    writeFileSync(`${folder}/${count.thread}.json`, JSON.stringify(count));
  }, 500).unref();
}
