/** Time that a slice of calls took. */
export interface SliceTime {
  readonly wallMs: number;
  /** Processor time of the process that ran it, all threads. */
  readonly cpuMs: number;
}

/** One side of a comparison. */
export interface Variant {
  readonly name: string;
  /** Runs `calls` times, one after the other, and says how long that took. */
  slice(calls: number): Promise<SliceTime>;
}

/** Milliseconds a call, one number a round. */
export interface Series {
  readonly name: string;
  readonly wallMs: readonly number[];
  readonly cpuMs: readonly number[];
}

export interface Budget {
  /** Time for all rounds together, warm-up not counted. */
  readonly seconds: number;
  /** Calls are repeated within a slice until it lasts about this long: short, so that both sides see the same neighbours. */
  readonly sliceMs: number;
  readonly leastRounds: number;
}

const MOST_ROUNDS = 400;

/** A variant that runs in this process. */
export function inProcess(name: string, call: () => Promise<unknown> | unknown): Variant {
  return {
    name,
    async slice(calls) {
      const cpu = process.cpuUsage();
      const start = performance.now();
      for (let index = 0; index < calls; index++) await call();
      const wallMs = performance.now() - start;
      const { user, system } = process.cpuUsage(cpu);
      return { wallMs, cpuMs: (user + system) / 1000 };
    },
  };
}

/**
 * Runs variants in turn (A B, B A, A B ...) in short slices, so that a busy neighbour slows all of them alike, and returns what a call
 * took in every round. Absolute times of a shared machine mean little; ratios of two such series mean something.
 */
export async function interleave(variants: readonly Variant[], { seconds, sliceMs, leastRounds }: Budget): Promise<Series[]> {
  const calls: number[] = [];
  let roundMs = 0;
  for (const variant of variants) {
    // The first call compiles and allocates; the second says how many fit into a slice.
    await variant.slice(1);
    const { wallMs } = await variant.slice(1);
    const count = Math.max(1, Math.round(sliceMs / wallMs));
    calls.push(count);
    // Just-in-time compilers need more than two calls, where calls are short.
    roundMs += count > 1 ? (await variant.slice(count)).wallMs : wallMs;
  }
  const rounds = Math.max(leastRounds, Math.min(MOST_ROUNDS, Math.floor((1000 * seconds) / roundMs)));
  const wall = variants.map(() => [] as number[]);
  const cpu = variants.map(() => [] as number[]);
  const order = variants.map((_, index) => index);
  for (let round = 0; round < rounds; round++) {
    for (const index of order) {
      const { wallMs, cpuMs } = await variants[index].slice(calls[index]);
      wall[index].push(wallMs / calls[index]);
      cpu[index].push(cpuMs / calls[index]);
    }
    order.reverse();
  }
  return variants.map(({ name }, index) => ({ name, wallMs: wall[index], cpuMs: cpu[index] }));
}

/** Sides of a comparison with what they hold. */
export interface Sides {
  readonly variants: readonly Variant[];
  release(): Promise<void>;
}

/**
 * {@link interleave} over several sets of sides made anew, their rounds put together: where the allocator happens to lay the buffers of
 * a session or a process is worth some percent, and stays as it is for its life.
 */
export async function interleaveAnew(make: () => Promise<Sides>, budget: Budget, times = 3): Promise<Series[]> {
  const all: Series[][] = [];
  for (let time = 0; time < times; time++) {
    const { variants, release } = await make();
    try {
      all.push(await interleave(variants, { ...budget, seconds: budget.seconds / times }));
    } finally {
      await release();
    }
  }
  return all[0].map(({ name }, side) => ({
    name,
    wallMs: all.flatMap((series) => series[side].wallMs),
    cpuMs: all.flatMap((series) => series[side].cpuMs),
  }));
}

/** The value below which `share` of the values lie, interpolated. */
export function quantile(values: readonly number[], share: number): number {
  const sorted = [...values].sort((a, b) => a - b);
  const at = share * (sorted.length - 1);
  const low = Math.floor(at);
  const high = Math.min(low + 1, sorted.length - 1);
  return sorted[low] + (at - low) * (sorted[high] - sorted[low]);
}

/**
 * Of processor time: what a shared machine's scheduler gives to others in the middle of a slice does not count. All comparisons here
 * are of one thread, so that on a quiet machine it is the wall clock.
 */
export interface Ratio {
  /** Median of `slow` over median of `fast`. */
  readonly median: number;
  /** The same of their best quartiles: what it is when nobody disturbs. */
  readonly bestQuartile: number;
  /** Quartiles of the ratios of single rounds. */
  readonly spread: readonly [number, number];
  /** Ratio of medians by the wall clock. */
  readonly wall: number;
}

/** How many times as long `slow` takes as `fast`; both from one {@link interleave}. */
export function ratio(slow: Series, fast: Series): Ratio {
  const rounds = slow.cpuMs.map((ms, round) => ms / fast.cpuMs[round]);
  return {
    median: quantile(slow.cpuMs, 0.5) / quantile(fast.cpuMs, 0.5),
    bestQuartile: quantile(slow.cpuMs, 0.25) / quantile(fast.cpuMs, 0.25),
    spread: [quantile(rounds, 0.25), quantile(rounds, 0.75)],
    wall: quantile(slow.wallMs, 0.5) / quantile(fast.wallMs, 0.5),
  };
}

/** Three significant digits, without trailing noise. */
export function digits(value: number): string {
  if (value === 0) return '0';
  const size = Math.abs(value);
  return size >= 1000 ? value.toFixed(0) : size < 0.001 ? value.toExponential(1) : String(Number(value.toPrecision(3)));
}

/** What a comparison of two series says beside its figure; milliseconds are medians of processor time. */
export function ratioDetails(slow: Series, fast: Series): Record<string, string | number> {
  const { bestQuartile, spread, wall } = ratio(slow, fast);
  return {
    [`${slow.name} ms`]: digits(quantile(slow.cpuMs, 0.5)),
    [`${fast.name} ms`]: digits(quantile(fast.cpuMs, 0.5)),
    'best quartile': digits(bestQuartile),
    'quartiles of rounds': `${digits(spread[0])} to ${digits(spread[1])}`,
    'by the wall clock': `${digits(wall)} (${digits(quantile(slow.wallMs, 0.5))} / ${digits(quantile(fast.wallMs, 0.5))} ms)`,
  };
}
