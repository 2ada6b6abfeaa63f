import type { Session, TensorData } from '../../models/engine/engine.ts';

const WARM_UP_RUNS = 30;
const RUNS = 300;

/** Middle and slow end of measured times, in milliseconds. */
export interface Latency {
  readonly medianMs: number;
  /** 99th percentile. */
  readonly p99Ms: number;
}

export interface Timing {
  readonly runs: number;
  /** One run of the graph on one window. */
  readonly processing: Latency;
  /** From the first sample of a stream to its first decision: a window's length, which nothing can shorten, and its processing. */
  readonly firstResponse: Latency & { readonly windowMs: number };
}

/**
 * Tier (b): how fast a graph answers on this machine, and how soon after a stream starts.
 *
 * @param feeds of one window
 * @param recipe samples a window and their rate
 * @param runs at least 300 for an honest 99th percentile
 */
export async function measureTiming(
  session: Pick<Session, 'run'>,
  feeds: Readonly<Record<string, TensorData>>,
  recipe: { readonly window: number; readonly sampleRateHz: number },
  { runs = RUNS, signal }: { readonly runs?: number; readonly signal?: AbortSignal } = {},
): Promise<Timing> {
  for (let run = 0; run < WARM_UP_RUNS; run++) await session.run(feeds);
  const times = new Float64Array(runs);
  for (let run = 0; run < runs; run++) {
    signal?.throwIfAborted();
    const began = performance.now();
    await session.run(feeds);
    times[run] = performance.now() - began;
  }
  const processing = latencyOf(times);
  const windowMs = (1000 * recipe.window) / recipe.sampleRateHz;
  return {
    runs,
    processing,
    firstResponse: { windowMs, medianMs: windowMs + processing.medianMs, p99Ms: windowMs + processing.p99Ms },
  };
}

/** Nearest-rank percentiles. times: milliseconds */
export function latencyOf(times: Float64Array): Latency {
  const sorted = times.slice().sort();
  const rank = (share: number) => sorted[Math.min(sorted.length - 1, Math.max(0, Math.ceil(share * sorted.length) - 1))];
  return { medianMs: rank(0.5), p99Ms: rank(0.99) };
}
