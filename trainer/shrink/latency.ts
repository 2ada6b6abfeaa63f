import type { Engine, Model, Session, TensorData } from '../../models/engine/engine.ts';
import { Random } from '../../models/networks/random.ts';

/** A model to be timed, with feeds of as many windows as a call is to take. */
export interface LatencySubject extends Model {
  readonly name: string;
  readonly feeds: Readonly<Record<string, TensorData>>;
}

export interface LatencyOptions {
  /** Windows of every subject's feeds. */
  readonly batch: number;
  /** How often every subject gets its turn; odd, for a median that was measured. */
  readonly rounds: number;
}

const DEFAULT_LATENCY: LatencyOptions = { batch: 1, rounds: 41 };

/** Medians over the rounds, for one call of `batch` windows. */
export interface Latency {
  readonly name: string;
  /** By the wall clock, which a busy neighbour stretches. */
  readonly latencyMs: number;
  /** Processor time of this process: what ratios are to be made of on a shared machine. */
  readonly cpuMs: number;
  /** Quartiles of `cpuMs`. */
  readonly quartilesMs: readonly [number, number];
}

/** Calls are repeated within a turn until it lasts about this long: long against the clock's ticks, short against a neighbour's moods. */
const TURN_MS = 15;

interface Turn {
  readonly wallMs: number;
  readonly cpuMs: number;
}

async function turn(session: Session, feeds: LatencySubject['feeds'], calls: number): Promise<Turn> {
  const before = process.cpuUsage();
  const started = performance.now();
  for (let call = 0; call < calls; call++) await session.run(feeds);
  const wallMs = performance.now() - started;
  const { user, system } = process.cpuUsage(before);
  return { wallMs: wallMs / calls, cpuMs: (user + system) / 1000 / calls };
}

function quantile(values: readonly number[], share: number): number {
  const sorted = [...values].sort((a, b) => a - b);
  return sorted[Math.round(share * (sorted.length - 1))];
}

/**
 * Times models side by side: in every round each has one short turn, so that a busy neighbour slows all alike and ratios hold where single
 * times do not. Rounds have their order by chance, or the garbage of all would be collected in the turn of always the same. Give it an
 * engine of one thread, and let nothing else of this process run meanwhile.
 *
 * @returns one row a subject, in their order
 * @throws RangeError where feeds have another number of windows than `batch`
 */
export async function measureLatency(
  engine: Engine,
  subjects: readonly LatencySubject[],
  { batch, rounds }: LatencyOptions = DEFAULT_LATENCY,
): Promise<Latency[]> {
  for (const { name, feeds } of subjects) {
    if (feeds.window.shape[0] !== batch) throw new RangeError(`${name} is fed ${feeds.window.shape[0]} windows a call, not ${batch}`);
  }
  const prepared: { session: Session; feeds: LatencySubject['feeds']; calls: number; turns: Turn[] }[] = [];
  try {
    for (const { feeds, ...model } of subjects) {
      const session = await engine.load(model);
      const side = { session, feeds, calls: 1, turns: [] as Turn[] };
      prepared.push(side);
      // The first calls allocate and compile. The quickest of some says how many fill a turn, which then warms up what is left.
      const singles: number[] = [];
      for (let call = 0; call < 5; call++) singles.push((await turn(session, feeds, 1)).wallMs);
      side.calls = Math.max(1, Math.round(TURN_MS / Math.min(...singles)));
      await turn(session, feeds, side.calls);
    }
    const order = [...prepared];
    const random = new Random(1);
    for (let round = 0; round < rounds; round++) {
      for (const { session, feeds, calls, turns } of random.shuffle(order)) turns.push(await turn(session, feeds, calls));
    }
  } finally {
    for (const { session } of prepared) await session.release();
  }
  return subjects.map(({ name }, index) => {
    const cpu = prepared[index].turns.map(({ cpuMs }) => cpuMs);
    return {
      name,
      latencyMs: quantile(
        prepared[index].turns.map(({ wallMs }) => wallMs),
        0.5,
      ),
      cpuMs: quantile(cpu, 0.5),
      quartilesMs: [quantile(cpu, 0.25), quantile(cpu, 0.75)],
    };
  });
}
