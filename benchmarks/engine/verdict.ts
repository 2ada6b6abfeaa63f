import { digits } from '../harness/interleave.ts';
import type { EngineRow } from './measure.ts';
import type { EngineName, Precision } from './subjects.ts';

/** Longest that a run may take, so that a window that just missed one is answered within 50 ms: half of what the gateway's planner leaves. */
export const LONGEST_RUN_MS = 24;
/** Share of a core's time that may be planned for: beyond it, queues grow and p99 with them. */
export const PLANNED_SHARE = 0.6;
/** `bench streams` counts about so many times what `path.ts` does outside the model: the broker's client, and a pace that never lets caches warm. */
export const BROKER_FACTOR = 4;
/** A further thread must bring this much, for it takes a core from the rest of the gateway. */
const WORTH_A_THREAD = 1.25;

export interface Verdict {
  readonly sentence: string;
  /** Streams that one gateway process on this device carries. */
  readonly streams: number;
  readonly engine: EngineName;
  readonly precision: Precision;
  readonly threads: number;
  /** Largest batch whose run keeps the latency bound. */
  readonly batch: number;
  readonly why: readonly string[];
}

export interface VerdictInput {
  readonly rows: readonly EngineRow[];
  readonly windowsPerStreamSecond: number;
  /** Milliseconds on the main thread outside the model; undefined where it was not measured. */
  readonly pathMs: number | undefined;
  readonly skipped: Readonly<Record<string, string>>;
  readonly disturbed: readonly string[];
}

/** Of one way to run, the row that decides most windows a second and keeps the bound; the smallest batch where none does. */
function bestOf(rows: readonly EngineRow[]): EngineRow | undefined {
  const quick = rows.filter(({ ms }) => ms.p99 <= LONGEST_RUN_MS);
  if (quick.length === 0) return [...rows].sort((a, b) => a.batch - b.batch)[0];
  // By medians: one turn that was disturbed must not choose.
  return quick.reduce((best, row) => (row.batch / row.ms.p50 > best.batch / best.ms.p50 ? row : best));
}

/** The best row over thread counts, a further thread only where it is worth one. */
function bestWay(rows: readonly EngineRow[], engine: EngineName, precision: Precision): EngineRow | undefined {
  const own = rows.filter((row) => row.engine === engine && row.precision === precision);
  const counts = [...new Set(own.map(({ threads }) => threads))].sort((a, b) => a - b);
  let best: EngineRow | undefined;
  for (const count of counts) {
    const candidate = bestOf(own.filter(({ threads }) => threads === count));
    if (candidate && (!best || candidate.windowsPerSecond > WORTH_A_THREAD * best.windowsPerSecond)) best = candidate;
  }
  return best;
}

/**
 * What a person needs to know before buying fifty of these: how many streams, and how to run them. Reckoned, not run: a stream takes the model's time
 * and the gateway's own, of which one core is planned for; with a second core for itself a gateway carries more. `bench streams --capacity` runs it.
 *
 * @throws Error where nothing was measured
 */
export function verdictOf({ rows, windowsPerStreamSecond, pathMs, skipped, disturbed }: VerdictInput): Verdict {
  const ways = (['onnxruntime', 'wasm'] as const).flatMap((engine) => {
    const int8 = bestWay(rows, engine, 'int8');
    return int8 ? [{ engine, int8, fp32: bestWay(rows, engine, 'fp32') }] : [];
  });
  if (ways.length === 0) throw new Error('no engine runs this bundle on this device');
  const chosen = ways.reduce((best, way) => (way.int8.windowsPerSecond > best.int8.windowsPerSecond ? way : best));
  const { int8, fp32 } = chosen;
  const precision: Precision = fp32 && fp32.windowsPerSecond > 1.05 * int8.windowsPerSecond ? 'fp32' : 'int8';
  const row = precision === 'fp32' ? fp32! : int8;
  const modelMs = (1000 * windowsPerStreamSecond) / row.windowsPerSecond;
  const mainMs = BROKER_FACTOR * (pathMs ?? 0);
  const streams = Math.floor((PLANNED_SHARE * 1000) / (modelMs + mainMs));
  const other = ways.find(({ engine }) => engine !== chosen.engine);
  const why = [
    fp32
      ? `int8 decides ${digits(int8.windowsPerSecond / fp32.windowsPerSecond)} times as many windows a second as fp32`
      : `fp32 was not measured: ${skipped.fp32 ?? 'no reason given'}`,
    precision === 'fp32' && 'fp32 needs a bundle that was trained without int8',
    `a batch of ${row.batch} takes ${digits(row.ms.p50)} ms (p99 ${digits(row.ms.p99)}), ${row.ms.p99 <= LONGEST_RUN_MS ? 'within' : 'more than'} the ${LONGEST_RUN_MS} ms that keep a window's answer under 50 ms`,
    `a stream takes ${digits(modelMs)} ms a second inside the model${pathMs === undefined ? '' : ` and about ${digits(mainMs)} outside it`}; ${100 * PLANNED_SHARE} % of a core is planned for`,
    other
      ? `${chosen.engine} decides ${digits(row.windowsPerSecond / other.int8.windowsPerSecond)} times as many windows a second as ${other.engine}`
      : `only ${chosen.engine} runs here${
          Object.keys(skipped).length > 0
            ? ` (${Object.entries(skipped)
                .map(([name, reason]) => `${name}: ${reason}`)
                .join('; ')})`
            : ''
        }`,
    ...disturbed.map((reason) => `disturbed: ${reason}`),
  ].filter((line) => typeof line === 'string');
  const sentence = `${disturbed.length > 0 ? 'Disturbed run, measure again: this' : 'This'} device carries about ${streams} streams with ${chosen.engine}, ${precision}, ${row.threads} thread${row.threads === 1 ? '' : 's'} and batches of up to ${row.batch}.`;
  return { sentence, streams, engine: chosen.engine, precision, threads: row.threads, batch: row.batch, why };
}
