import type { Ledger } from '../../runtime/contracts/messages.ts';
import type { Quantiles } from './quantiles.ts';
import type { SchedulePlan } from './schedule.ts';

/** What the load generator is told, as JSON in its first argument. It begins when a line comes by its standard input; each further one is a mark. */
export interface LoadOrder {
  readonly broker: string;
  readonly site: string;
  readonly gateway: string;
  readonly plan: SchedulePlan;
}

/** What it found, as JSON in the last line of its standard output; the line before is `ready`. */
export interface LoadReport {
  readonly framesSent: number;
  readonly windowsDecided: number;
  /** Diagnoses that came again, and such that no sent window stands behind. */
  readonly duplicates: number;
  readonly strangers: number;
  readonly latencyMs: Quantiles;
  /** Of diagnoses that came before the first mark, between it and the second, and so on. */
  readonly latencyMsByMark: readonly Quantiles[];
  /** Windows that each bundle decided, by the short digest of the diagnosis. */
  readonly bundles: Readonly<Record<string, number>>;
  /** From when a frame was due to when it was given to the operating system. */
  readonly sendLatenessMs: Quantiles;
  /** Most bytes that waited in the generator because the broker did not take them. */
  readonly mostBytesWaiting: number;
  readonly cpuMs: number;
  /** The gateway's own count after the last window; undefined where no status came that had settled. */
  readonly ledger: Ledger | undefined;
  /** Streams of that status that have an adapter of their own. */
  readonly adapters: number;
}
