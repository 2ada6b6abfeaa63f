import type { DisturbanceWatch } from '../harness/disturbance.ts';
import { rounded } from '../streams/quantiles.ts';
import type { EnergyMeter } from './energy.ts';
import { batchFeeds } from './feeds.ts';
import type { EngineName, Precision, Subjects } from './subjects.ts';

export const BATCHES = [1, 2, 4, 8, 16, 32, 64] as const;
/** A turn lasts about this long: long against the clock, short against a neighbour's moods. */
const TURN_MS = 25;
/** Fewer runs have no 99.9th percentile. */
const LEAST_FOR_P999 = 1000;

/** One way to run the bundle at one batch size. */
export interface EngineRow {
  readonly engine: EngineName;
  readonly precision: Precision;
  readonly threads: number;
  readonly batch: number;
  readonly runs: number;
  /** Of one run of the whole batch, by the wall clock; `p999` is null where there were fewer than 1,000 runs. */
  readonly ms: { readonly p50: number; readonly p99: number; readonly p999: number | null; readonly max: number };
  /** Processor time of all threads. */
  readonly cpuMsPerWindow: number;
  readonly windowsPerSecond: number;
  /** Of the whole processor package, what else ran on it included; null where the kernel does not tell. */
  readonly joulesPerThousandWindows: number | null;
  /** Run times at 1, 2 … 99 %, for the picture. */
  readonly quantilesMs: readonly number[];
}

/** One turn of a way, for the time line. */
export interface Turn {
  readonly atSeconds: number;
  readonly row: number;
  /** Mean of the turn's runs. */
  readonly msPerWindow: number;
  readonly runnable: number | null;
  readonly frequencyMhz: number | null;
}

interface Cell {
  readonly subject: number;
  readonly batch: number;
  readonly run: () => Promise<unknown>;
  calls: number;
  readonly timesMs: number[];
  cpuMs: number;
  joules: number;
}

export interface EngineMeasured {
  readonly rows: readonly EngineRow[];
  readonly turns: readonly Turn[];
  /** Ways and batches for which there was no time, by name. */
  readonly unmeasured: readonly string[];
}

/**
 * Runs every way at every batch size in turns, round about, until the time is up: what disturbs, disturbs all alike. Where one run of a batch would
 * take more than its share of the time, that and larger ones are left out.
 */
export async function measureEngines(
  { bundle, subjects }: Subjects,
  { seconds, batches = BATCHES }: { readonly seconds: number; readonly batches?: readonly number[] },
  watch: DisturbanceWatch,
  energy: EnergyMeter | undefined,
  signal: AbortSignal | undefined,
  progress: (share: number) => void,
): Promise<EngineMeasured> {
  const began = performance.now();
  const deadline = began + 1000 * seconds;
  const shareMs = (1000 * seconds) / (subjects.length * batches.length);
  const cells: Cell[] = [];
  const unmeasured: string[] = [];
  for (const [subject, { engine, precision, threads, session }] of subjects.entries()) {
    let quickest = 0;
    for (const batch of batches) {
      // The last batch size took so long; this one takes about twice that. Every way has one figure at least.
      if (batch !== batches[0] && (2 * quickest > shareMs || performance.now() > deadline)) {
        unmeasured.push(`${engine} ${precision}, ${threads} threads, batch ${batch}`);
        continue;
      }
      const feeds = batchFeeds(bundle, session, batch);
      const run = () => session.run(feeds);
      // The first run allocates and compiles.
      await run();
      quickest = Number.POSITIVE_INFINITY;
      for (let call = 0; call < 2; call++) {
        const before = performance.now();
        await run();
        quickest = Math.min(quickest, performance.now() - before);
      }
      cells.push({ subject, batch, run, calls: Math.max(1, Math.round(TURN_MS / quickest)), timesMs: [], cpuMs: 0, joules: 0 });
    }
  }
  const turns: Turn[] = [];
  const order = cells.map((_, index) => index);
  // Every way has one turn at least, however late it is.
  for (let round = 0; round === 0 || performance.now() < deadline; round++) {
    for (const index of order) {
      signal?.throwIfAborted();
      if (round > 0 && performance.now() > deadline) break;
      const cell = cells[index];
      const [cpu, joules, from] = [process.cpuUsage(), energy?.joules() ?? 0, cell.timesMs.length];
      for (let call = 0; call < cell.calls; call++) {
        const start = performance.now();
        await cell.run();
        cell.timesMs.push(performance.now() - start);
      }
      const { user, system } = process.cpuUsage(cpu);
      cell.cpuMs += (user + system) / 1000;
      cell.joules += (energy?.joules() ?? 0) - joules;
      const latest = cell.timesMs.slice(from);
      const msPerWindow = latest.reduce((sum, ms) => sum + ms, 0) / latest.length / cell.batch;
      turns.push({
        atSeconds: rounded((performance.now() - began) / 1000),
        row: index,
        msPerWindow: rounded(msPerWindow, 5),
        ...watch.sample(),
      });
      progress(Math.min(1, (performance.now() - began) / (1000 * seconds)));
    }
    order.reverse();
  }
  const rows = cells.map((cell) => rowOf(cell, subjects[cell.subject], energy !== undefined));
  return { rows, turns, unmeasured };
}

function rowOf(
  { batch, timesMs, cpuMs, joules }: Cell,
  { engine, precision, threads }: Subjects['subjects'][number],
  hasEnergy: boolean,
): EngineRow {
  const sorted = Float64Array.from(timesMs).sort();
  // The nearest rank: every figure is one that was measured.
  const at = (share: number) => rounded(sorted[Math.max(0, Math.ceil(share * sorted.length) - 1)], 4);
  const windows = sorted.length * batch;
  const totalMs = timesMs.reduce((sum, ms) => sum + ms, 0);
  return {
    engine,
    precision,
    threads,
    batch,
    runs: sorted.length,
    ms: { p50: at(0.5), p99: at(0.99), p999: sorted.length >= LEAST_FOR_P999 ? at(0.999) : null, max: at(1) },
    cpuMsPerWindow: rounded(cpuMs / windows, 5),
    windowsPerSecond: rounded((1000 * windows) / totalMs, 1),
    joulesPerThousandWindows: hasEnergy ? rounded((1000 * joules) / windows, 4) : null,
    quantilesMs: Array.from({ length: 99 }, (_, index) => at((index + 1) / 100)),
  };
}
