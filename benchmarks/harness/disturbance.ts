import { readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { processClock } from '../streams/process-clock.ts';
import { rounded } from '../streams/quantiles.ts';

/** What the kernel tells of a run's surroundings; null where it does not tell (other systems, containers). */
export interface Disturbance {
  /** Why figures of this run may be wrong, for people; empty where nothing was seen. */
  readonly reasons: readonly string[];
  /** Share of the machine's time that its hypervisor gave to others (/proc/stat). */
  readonly stealShare: number | null;
  /** Cores that programs outside this measurement kept busy, on average (/proc/stat). */
  readonly othersCores: number | null;
  /** Share of the run that a thread of this process spent ready to run and not running (/proc/self/task/N/schedstat). */
  readonly waitedShare: number | null;
  /** Most threads that were ready to run beside this one, at a sample (/proc/loadavg). */
  readonly mostRunnable: number | null;
  /** Times that a core was throttled (thermal_throttle). */
  readonly throttled: number | null;
  /** Of the cores' frequencies, least and most that were seen (cpufreq). */
  readonly frequencyMhz: readonly [number, number] | null;
  /** Hottest thermal zone, at its hottest. */
  readonly celsius: number | null;
}

/** A figure is disturbed beyond these. */
const MOST = { stealShare: 0.02, othersCores: 0.2, waitedShare: 0.02, frequencyDrop: 0.2 } as const;
/** USER_HZ, which is 100 on every Linux that Node runs on. */
const TICK_MS = 10;

interface Sample {
  readonly atMs: number;
  readonly busyMs: number;
  readonly stealMs: number;
  readonly allMs: number;
  readonly ownMs: number;
  readonly waitedMs: number;
  readonly throttled: number;
}

/** A file's text; undefined where there is none. */
function text(path: string): string | undefined {
  try {
    return readFileSync(path, 'utf8');
  } catch {
    return undefined;
  }
}

function names(folder: string): string[] {
  try {
    return readdirSync(folder);
  } catch {
    return [];
  }
}

/**
 * Watches a run from begin to end. Is wrong about neighbours that share a core's caches or its second hardware thread from outside this machine:
 * of those the kernel knows nothing.
 *
 * @param ownCpuMs processor time so far of all processes that belong to the measurement
 * @param root folder that holds proc/ and sys/
 */
export class DisturbanceWatch {
  readonly #ownCpuMs: () => number;
  readonly #root: string;
  readonly #first: Sample;
  #mostRunnable = -1;
  #frequencies: [number, number] | null = null;
  #celsius: number | null = null;

  constructor(
    ownCpuMs: () => number = () => {
      const { user, system } = process.cpuUsage();
      return (user + system) / 1000;
    },
    root = '/',
  ) {
    this.#ownCpuMs = ownCpuMs;
    this.#root = root;
    this.#first = this.#read();
    this.sample();
  }

  /** To be called now and then in the run: frequencies, temperatures and run-queue have no counters. */
  sample(): { readonly runnable: number | null; readonly frequencyMhz: number | null } {
    const cpus = names(this.#path('sys/devices/system/cpu')).filter((name) => /^cpu\d+$/.test(name));
    const now = cpus.flatMap((cpu) => {
      const kilohertz = Number(text(this.#path(`sys/devices/system/cpu/${cpu}/cpufreq/scaling_cur_freq`)));
      return kilohertz > 0 ? [kilohertz / 1000] : [];
    });
    for (const megahertz of now) {
      const [least, most] = this.#frequencies ?? [megahertz, megahertz];
      this.#frequencies = [Math.min(least, megahertz), Math.max(most, megahertz)];
    }
    for (const zone of names(this.#path('sys/class/thermal'))) {
      const millidegrees = Number(text(this.#path(`sys/class/thermal/${zone}/temp`)) ?? Number.NaN);
      if (millidegrees > 0) this.#celsius = Math.max(this.#celsius ?? 0, millidegrees / 1000);
    }
    const runnable = Number(/ (\d+)\//.exec(text(this.#path('proc/loadavg')) ?? '')?.[1] ?? Number.NaN) - 1;
    if (runnable >= 0) this.#mostRunnable = Math.max(this.#mostRunnable, runnable);
    return { runnable: runnable >= 0 ? runnable : null, frequencyMhz: now.length > 0 ? Math.max(...now) : null };
  }

  finish(): Disturbance {
    this.sample();
    const [first, last] = [this.#first, this.#read()];
    const of = (key: keyof Sample) => last[key] - first[key];
    const wallMs = Math.max(1, of('atMs'));
    const known = (value: number, digits = 3) => (Number.isFinite(value) ? rounded(value, digits) : null);
    const seen = {
      stealShare: known(of('stealMs') / Math.max(TICK_MS, of('allMs'))),
      // Ticks are coarse against a short run.
      othersCores: known(Math.max(0, of('busyMs') - of('ownMs')) / wallMs, 2),
      waitedShare: known(of('waitedMs') / wallMs),
      mostRunnable: this.#mostRunnable < 0 ? null : this.#mostRunnable,
      throttled: known(of('throttled')),
      frequencyMhz: (this.#frequencies?.map(Math.round) as [number, number] | undefined) ?? null,
      celsius: this.#celsius,
    };
    return { reasons: reasonsOf(seen), ...seen };
  }

  #path(path: string): string {
    return join(this.#root, path);
  }

  #read(): Sample {
    const fields = text(this.#path('proc/stat'))?.split('\n')[0].split(/\s+/).slice(1).map(Number) ?? [];
    const [user, nice, system, idle, iowait, irq, softirq, steal] = fields.map((ticks) => ticks * TICK_MS);
    const waits = names(this.#path('proc/self/task')).map((thread) =>
      Number(text(this.#path(`proc/self/task/${thread}/schedstat`))?.split(' ')[1]),
    );
    const cores = names(this.#path('sys/devices/system/cpu')).map((cpu) =>
      Number(text(this.#path(`sys/devices/system/cpu/${cpu}/thermal_throttle/core_throttle_count`)) ?? Number.NaN),
    );
    const throttles = cores.filter(Number.isFinite);
    const sum = (values: readonly number[]) => (values.length > 0 ? values.reduce((total, value) => total + value, 0) : Number.NaN);
    return {
      atMs: performance.now(),
      busyMs: user + nice + system + irq + softirq,
      stealMs: steal,
      allMs: user + nice + system + idle + iowait + irq + softirq + steal,
      ownMs: this.#ownCpuMs(),
      waitedMs: sum(waits.filter(Number.isFinite)) / 1e6,
      throttled: sum(throttles),
    };
  }
}

function reasonsOf(seen: Omit<Disturbance, 'reasons'>): string[] {
  const percent = (share: number) => `${(100 * share).toFixed(0)} %`;
  const { stealShare, othersCores, waitedShare, throttled, frequencyMhz } = seen;
  return [
    (stealShare ?? 0) > MOST.stealShare && `the hypervisor took ${percent(stealShare!)} of the machine's time`,
    othersCores !== null && othersReason(othersCores),
    (waitedShare ?? 0) > MOST.waitedShare && `threads of the measurement waited for a core for ${percent(waitedShare!)} of the time`,
    (throttled ?? 0) > 0 && `the processor was throttled ${throttled} times`,
    frequencyMhz &&
      frequencyMhz[0] < (1 - MOST.frequencyDrop) * frequencyMhz[1] &&
      `the frequency moved between ${frequencyMhz[0]} and ${frequencyMhz[1]} MHz`,
  ].filter((reason) => typeof reason === 'string');
}

/** What to say of other programs; undefined where they did not disturb. */
export function othersReason(othersCores: number): string | undefined {
  return othersCores > MOST.othersCores ? `other programs kept ${othersCores} cores busy` : undefined;
}

/** The line that stands before every figure of a disturbed run; empty where it was quiet. */
export function disturbedLine({ reasons }: Pick<Disturbance, 'reasons'>): string {
  return reasons.length === 0 ? '' : `DISTURBED, figures not to be kept: ${reasons.join('; ')}\n`;
}

/** Processor time of this process, of its children that live, and of those that have ended, milliseconds. */
export function familyCpuMs(): number {
  if (process.platform !== 'linux') return Number.NaN;
  const children = readFileSync(`/proc/self/task/${process.pid}/children`, 'utf8').split(' ').filter(Boolean);
  return processClock(process.pid).familyCpuMs() + children.reduce((sum, pid) => sum + processClock(Number(pid)).familyCpuMs(), 0);
}
