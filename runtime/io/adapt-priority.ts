import { readFileSync, readlinkSync } from 'node:fs';
import { setPriority } from 'node:os';

/** Nice value of a thread that learns: decisions go before. */
const NICE = 10;

/**
 * Makes the calling thread give way to all others. Linux counts niceness a thread; elsewhere there is no way to mean one thread alone, and the pauses
 * between steps must do.
 *
 * @returns whether it did
 */
export function lowerThreadPriority(): boolean {
  try {
    const [, , thread] = readlinkSync('/proc/thread-self').split('/');
    setPriority(Number(thread), NICE);
    return true;
  } catch {
    return false;
  }
}

/** CPU time of the calling thread so far, seconds; undefined where the system does not tell. */
export function threadCpuSeconds(): number | undefined {
  try {
    // proc(5): nanoseconds on the CPU, nanoseconds waiting for it, times it ran.
    return Number(readFileSync('/proc/thread-self/schedstat', 'latin1').split(' ')[0]) / 1e9;
  } catch {
    return undefined;
  }
}
