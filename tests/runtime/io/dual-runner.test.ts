import { beforeAll, describe, expect, it } from 'vitest';
import { type Bundle, bankLayout, bundleModel, FILES } from '../../../models/bundle/bundle.ts';
import { type Engine, emptyTensor, type Session } from '../../../models/engine/engine.ts';
import { createOnnxruntimeEngine } from '../../../models/engine/onnxruntime-engine.ts';
import { type DualSettings, dualSettings } from '../../../runtime/decide/dual-state.ts';
import { BatchSession } from '../../../runtime/io/batch-session.ts';
import { DualRunner } from '../../../runtime/io/dual-runner.ts';
import { MODEL, RESULT, ResultMemory } from '../../../runtime/io/protocol.ts';
import { numbers } from '../../support/numbers.ts';
import { makeTinyBundle } from '../../support/tiny-bundle.ts';

const [LARGEST, WINDOW, CHANNELS, CLASSES] = [16, 512, 2, 3];

/** What befalls a session: an error, no number in some rows, the least probable class instead of the most, or time. */
type Fault =
  | { kind: 'well' }
  | { kind: 'throws' }
  | { kind: 'no-number'; rows: readonly number[] }
  | { kind: 'inverted' }
  | { kind: 'slow'; ms: number };

/** A real session to which something happens. */
class FaultySession implements Session {
  fault: Fault = { kind: 'well' };
  runs = 0;
  readonly #session: Session;

  constructor(session: Session) {
    this.#session = session;
  }

  get inputs() {
    return this.#session.inputs;
  }

  get outputs() {
    return this.#session.outputs;
  }

  async run(...[feeds, fetches]: Parameters<Session['run']>): ReturnType<Session['run']> {
    this.runs++;
    const { fault } = this;
    if (fault.kind === 'throws') throw new Error('out of memory');
    const made = await this.#session.run(feeds, fetches);
    const values = made.probabilities.values as Float32Array;
    if (fault.kind === 'no-number') for (const row of fault.rows) values.fill(Number.NaN, row * CLASSES, (row + 1) * CLASSES);
    if (fault.kind === 'inverted') values.set(values.map((value) => 1 - value));
    if (fault.kind === 'slow') await new Promise((resolve) => setTimeout(resolve, fault.ms));
    return made;
  }

  release(): Promise<void> {
    return this.#session.release();
  }
}

let engine: Engine;
let bundle: Bundle;
beforeAll(async () => {
  engine = await createOnnxruntimeEngine();
  ({ bundle } = await makeTinyBundle());
});

/** @param backupGraph the deciding graph itself makes a back-up that always agrees */
async function runnerOf(backupGraph: string | undefined, more: Partial<DualSettings> = {}) {
  const feeds = {
    window: {
      type: 'int16' as const,
      shape: [LARGEST, WINDOW, CHANNELS],
      values: Int16Array.from(numbers(LARGEST * WINDOW * CHANNELS, 4, -9000, 9000)),
    },
    scale: { type: 'float32' as const, shape: [LARGEST, CHANNELS], values: new Float32Array(LARGEST * CHANNELS).fill(1e-4) },
    adapterIndex: emptyTensor('int32', [LARGEST]),
  };
  const banks = { adapterBank: emptyTensor('float32', [2, bankLayout(bundle.manifest).size]) };
  const load = async (graph: string) => new FaultySession(await engine.load(bundleModel(bundle, graph)));
  const primary = await load(FILES.infer);
  const backup = backupGraph === undefined ? undefined : await load(backupGraph);
  const results = new ResultMemory({ classes: CLASSES, features: 0, embedding: 0, novelty: false, dual: backup !== undefined });
  const batches = (session: Session) => new BatchSession(session, feeds, LARGEST, banks);
  // On a machine at work on other things any run may be slow; the test of slowness says so itself.
  const settings = { ...dualSettings(256), latencyBudgetMs: Number.POSITIVE_INFINITY, ...more };
  const adapters = feeds.adapterIndex.values as Int32Array;
  const runner = new DualRunner(batches(primary), backup && batches(backup), results, settings, adapters);
  const decide = async (count: number) => {
    results.states.fill(RESULT.decided);
    await runner.decide(count);
    const answered = { models: [...results.models.subarray(0, count)], states: [...results.states.subarray(0, count)] };
    const probabilities = results.probabilities.slice(0, count * CLASSES);
    await runner.compare(count);
    return { ...answered, probabilities };
  };
  /** What a graph answers by itself. */
  const alone = async (graph: string, count: number) => {
    const session = batches(await engine.load(bundleModel(bundle, graph)));
    await session.run(count);
    return session.output('probabilities').slice(0, count * CLASSES);
  };
  return { primary, backup: backup as FaultySession, adapters, runner, results, decide, alone };
}

const all = (count: number, value: number) => new Array<number>(count).fill(value);

describe('a bundle with two networks', () => {
  it('is decided by the primary, and the back-up runs on its share of windows', async () => {
    const { decide, alone, backup, results } = await runnerOf(FILES.infer);
    const { models, probabilities } = await decide(4);
    expect(models).toEqual(all(4, MODEL.primary));
    expect(probabilities).toEqual(await alone(FILES.infer, 4));
    for (let round = 1; round < 64; round++) await decide(4);
    expect(backup.runs).toBe(64 / 16);
    expect(results.dualStatus()).toMatchObject({ mode: 'primary', compared: 16, differed: 0, decidedByBackup: 0 });
  });

  it('is decided by the back-up in the very call in which the primary throws, and from then on', async () => {
    const { decide, alone, primary, results } = await runnerOf(FILES.backup);
    primary.fault = { kind: 'throws' };
    const { models, states, probabilities } = await decide(5);
    expect(models).toEqual(all(5, MODEL.backup));
    expect(states).toEqual(all(5, RESULT.decided));
    expect(probabilities).toEqual(await alone(FILES.backup, 5));
    const runs = primary.runs;
    await decide(1);
    expect(primary.runs).toBe(runs);
    expect(results.dualStatus()).toMatchObject({ mode: 'backup', switches: { threw: 1 }, decidedByBackup: 6 });
  });

  it('lets the back-up answer single windows of which the primary makes no number, without leaving it', async () => {
    const { decide, alone, primary, results } = await runnerOf(FILES.backup, { backupShare: 0 });
    primary.fault = { kind: 'no-number', rows: [3] };
    const { models, states, probabilities } = await decide(16);
    expect(models).toEqual(all(16, MODEL.primary).with(3, MODEL.backup));
    expect(states).toEqual(all(16, RESULT.decided));
    const [one, other] = [await alone(FILES.infer, 16), await alone(FILES.backup, 16)];
    expect(probabilities.slice(0, 9)).toEqual(one.slice(0, 9));
    expect(probabilities.slice(9, 12)).toEqual(other.slice(9, 12));
    expect(probabilities.slice(12)).toEqual(one.slice(12));
    expect(results.dualStatus()).toMatchObject({ mode: 'primary', decidedByBackup: 1 });
  });

  it('leaves a primary that makes no numbers at all', async () => {
    const { decide, primary, results } = await runnerOf(FILES.backup);
    primary.fault = { kind: 'no-number', rows: [0, 1, 2, 3, 4, 5, 6, 7] };
    expect((await decide(8)).states).toEqual(all(8, RESULT.decided));
    expect(results.dualStatus()).toMatchObject({ mode: 'backup', switches: { notFinite: 1 }, decidedByBackup: 8 });
  });

  it('blames the window where neither makes a number of it', async () => {
    const { decide, primary, backup, results } = await runnerOf(FILES.infer);
    for (const session of [primary, backup]) session.fault = { kind: 'no-number', rows: [0] };
    for (let round = 0; round < 30; round++) expect((await decide(1)).states).toEqual([RESULT.notFinite]);
    expect(results.dualStatus()).toMatchObject({ mode: 'primary', decidedByBackup: 0 });
  });

  it('leaves a primary that is too slow twice in a row', async () => {
    const { decide, primary, results } = await runnerOf(FILES.infer, { latencyBudgetMs: 60 });
    primary.fault = { kind: 'slow', ms: 80 };
    await decide(1);
    expect(results.dualStatus()!.mode).toBe('primary');
    await decide(1);
    expect(results.dualStatus()).toMatchObject({ mode: 'backup', switches: { slow: 1 } });
  });

  it('leaves a primary that goes on naming other classes than the back-up: within a hop of 128 streams', async () => {
    const { decide, primary, results } = await runnerOf(FILES.infer, { backupShare: 1 });
    primary.fault = { kind: 'inverted' };
    let windows = 0;
    while (results.dualStatus()!.mode !== 'backup' && windows < 10_000) {
      await decide(16);
      windows += 16;
    }
    expect(windows).toBeLessThanOrEqual(128);
    expect(results.dualStatus()!.switches.disagreed).toBe(1);
  });

  it("does not ask the back-up about windows that a stream's own adapter decides, and keeps the primary on them", async () => {
    const { decide, primary, backup, adapters, results } = await runnerOf(FILES.infer, { backupShare: 1 });
    primary.fault = { kind: 'inverted' };
    adapters.fill(1);
    for (let round = 0; round < 40; round++) await decide(16);
    expect(backup.runs).toBe(0);
    adapters[3] = 0;
    await decide(16);
    expect(results.dualStatus()).toMatchObject({ mode: 'primary', compared: 1, differed: 1 });
  });

  it('returns to a primary that it left for its disagreement, once nothing is left that the base decides', async () => {
    const { decide, primary, adapters, results } = await runnerOf(FILES.infer, { backupShare: 1, trialShare: 1, recoveryWindows: 32 });
    primary.fault = { kind: 'inverted' };
    while (results.dualStatus()!.mode !== 'backup') await decide(16);
    await decide(16);
    await decide(16);
    expect(results.dualStatus()!.mode).toBe('backup');
    adapters.fill(1);
    await decide(16);
    await decide(16);
    expect(results.dualStatus()).toMatchObject({ mode: 'primary', returns: 1 });
  });

  it('returns to a primary that has recovered, after as many windows as demanded, and not sooner', async () => {
    const { decide, primary, results } = await runnerOf(FILES.infer, { recoveryWindows: 40, trialShare: 1 });
    primary.fault = { kind: 'throws' };
    await decide(8);
    primary.fault = { kind: 'well' };
    // The failed call is followed by trials of every window; five of eight make forty.
    const modes: string[] = [];
    for (let round = 0; round < 5; round++) {
      expect((await decide(8)).models).toEqual(all(8, MODEL.backup));
      modes.push(results.dualStatus()!.mode);
    }
    expect(modes).toEqual(['backup', 'backup', 'backup', 'backup', 'primary']);
    expect((await decide(8)).models).toEqual(all(8, MODEL.primary));
    expect(results.dualStatus()).toMatchObject({ returns: 1, switches: { threw: 1 } });
  });

  it('does not return to a primary that still fails its trials', async () => {
    const { decide, primary, results } = await runnerOf(FILES.infer, { recoveryWindows: 8, trialShare: 1 });
    primary.fault = { kind: 'throws' };
    for (let round = 0; round < 40; round++) expect((await decide(8)).states).toEqual(all(8, RESULT.decided));
    expect(results.dualStatus()).toMatchObject({ mode: 'backup', returns: 0, decidedByBackup: 320 });
  });

  it('falls back on the primary where the back-up throws while it decides', async () => {
    const { decide, primary, backup, results } = await runnerOf(FILES.infer);
    primary.fault = { kind: 'throws' };
    await decide(2);
    primary.fault = { kind: 'well' };
    backup.fault = { kind: 'throws' };
    expect(await decide(2)).toMatchObject({ models: all(2, MODEL.primary), states: all(2, RESULT.decided) });
    expect(results.dualStatus()).toMatchObject({ mode: 'primary', backupFailures: 1 });
  });

  it('decides nothing where both throw, and goes on when one is well again', async () => {
    const { decide, primary, backup } = await runnerOf(FILES.infer);
    for (const session of [primary, backup]) session.fault = { kind: 'throws' };
    for (let round = 0; round < 4; round++) await expect(decide(2)).rejects.toThrow('out of memory');
    backup.fault = { kind: 'well' };
    expect((await decide(2)).states).toEqual(all(2, RESULT.decided));
  });

  it('leaves windows alone that were refused before, whichever model decides', async () => {
    const { runner, results, primary } = await runnerOf(FILES.infer);
    for (const kind of ['well', 'throws'] as const) {
      primary.fault = { kind };
      results.states.fill(RESULT.decided);
      results.states[1] = RESULT.overrun;
      await runner.decide(3);
      expect([...results.states.subarray(0, 3)]).toEqual([RESULT.decided, RESULT.overrun, RESULT.decided]);
    }
    expect(results.dualStatus()!.decidedByBackup).toBe(2);
  });
});

describe('a bundle with one network', () => {
  it('says so when it throws, and refuses windows of which it makes no number', async () => {
    const { decide, primary, results } = await runnerOf(undefined);
    primary.fault = { kind: 'throws' };
    await expect(decide(2)).rejects.toThrow('out of memory');
    primary.fault = { kind: 'no-number', rows: [1] };
    expect((await decide(2)).states).toEqual([RESULT.decided, RESULT.notFinite]);
    expect(results.dualStatus()).toBeUndefined();
  });
});

describe('BatchSession', () => {
  it('refuses a graph that asks for what a gateway does not have', async () => {
    const session = await engine.load(bundleModel(bundle, FILES.infer));
    expect(() => new BatchSession(session, {}, LARGEST, {})).toThrow('window');
  });
});
