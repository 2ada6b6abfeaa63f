import { readdirSync, readFileSync } from 'node:fs';

/** What another process has used so far, as the kernel counts it (Linux). */
export interface ProcessClock {
  readonly pid: number;
  /** Processor time of all its threads, also of those that have ended, milliseconds. */
  cpuMs(): number;
  /** The same, and that of its children that have ended and were waited for. */
  familyCpuMs(): number;
  /** Processor time of each thread that lives, milliseconds. */
  threadCpuMs(): Map<number, number>;
  /** Resident memory now, megabytes of 10^6 bytes. */
  rssMb(): number;
}

/** USER_HZ, which is 100 on every Linux that Node runs on. */
const TICK_MS = 10;

/** @throws Error where the process has ended */
export function processClock(pid: number): ProcessClock {
  /** utime, stime, cutime, cstime */
  const times = (count: number) => {
    const stat = readFileSync(`/proc/${pid}/stat`, 'utf8');
    // The second field, the name in parentheses, may hold blanks.
    const fields = stat.slice(stat.lastIndexOf(')') + 2).split(' ');
    return fields.slice(11, 11 + count).reduce((sum, ticks) => sum + Number(ticks), 0) * TICK_MS;
  };
  return {
    pid,
    cpuMs: () => times(2),
    familyCpuMs: () => times(4),
    threadCpuMs() {
      const threads = readdirSync(`/proc/${pid}/task`).map((name) => {
        const [nanoseconds] = readFileSync(`/proc/${pid}/task/${name}/schedstat`, 'utf8').split(' ');
        return [Number(name), Number(nanoseconds) / 1e6] as const;
      });
      return new Map(threads);
    },
    rssMb() {
      const kibibytes = /^VmRSS:\s+(\d+)/m.exec(readFileSync(`/proc/${pid}/status`, 'utf8'))?.[1];
      return (Number(kibibytes) * 1024) / 1e6;
    },
  };
}

/** Processor time that all programs of the machine have used, milliseconds. */
export function machineBusyMs(): number {
  const [, user, nice, system, , , irq, softirq] = readFileSync('/proc/stat', 'utf8').split('\n')[0].split(/\s+/).map(Number);
  return (user + nice + system + irq + softirq) * TICK_MS;
}
