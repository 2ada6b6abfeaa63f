import {
  type DualEvent,
  type DualSettings,
  type DualState,
  initialDualState,
  nextDualState,
  otherModelShare,
} from '../decide/dual-state.ts';
import { WindowShare } from '../decide/window-share.ts';
import type { BatchSession } from './batch-session.ts';
import { MODEL, RESULT, type ResultMemory } from './protocol.ts';

type Model = keyof typeof MODEL;

/**
 * Decides batches by the primary network or the back-up. Where the primary throws or gives no numbers, the same windows are decided by the
 * back-up in the same call, so that no window waits for another chance.
 *
 * A primary that never returns is not noticed here: a run blocks its thread.
 */
export class DualRunner {
  readonly #sessions: { readonly primary: BatchSession; readonly backup: BatchSession | undefined };
  readonly #results: ResultMemory;
  readonly #settings: DualSettings;
  readonly #adapters: ArrayLike<number>;
  readonly #share = new WindowShare();
  #state: DualState;
  /** The model that answered the last batch, where the other may be compared with it. */
  #comparable: Model | undefined;

  /** @param adapters row of the bank that each window of a batch is decided with, 0 for the base */
  constructor(
    primary: BatchSession,
    backup: BatchSession | undefined,
    results: ResultMemory,
    settings: DualSettings,
    adapters: ArrayLike<number>,
  ) {
    this.#adapters = adapters;
    this.#sessions = { primary, backup };
    this.#results = results;
    this.#settings = settings;
    this.#state = initialDualState(settings);
  }

  get state(): DualState {
    return this.#state;
  }

  /**
   * Decides the windows that lie in the sessions' inputs; those that are not `decided` in the results' states are run along, and stay as they
   * are.
   *
   * @throws Error where no model answers
   */
  async decide(count: number): Promise<void> {
    this.#comparable = undefined;
    if (this.#state.mode === 'backup') {
      if (await this.#decideByBackup(count)) return;
    }
    await this.#decideByPrimary(count);
  }

  /** Runs the model that did not decide on the last batch, where its turn has come. To be called when the batch is answered. */
  async compare(count: number): Promise<void> {
    const { primary, backup } = this.#sessions;
    if (!backup || !this.#comparable) return;
    if (this.#comparable === 'primary' && !this.#anyByBase(count)) return;
    if (!this.#share.due(count, otherModelShare(this.#state, this.#settings))) return;
    const [tried, other] = this.#comparable === 'primary' ? (['backup', backup] as const) : (['primary', primary] as const);
    const began = performance.now();
    try {
      await other.run(count);
    } catch {
      if (tried === 'backup') this.#results.count('backupFailures');
      else this.#next({ kind: 'threw' });
      return;
    }
    if (tried === 'primary')
      this.#next({ kind: 'ran', windows: count, notFinite: this.#countNotFinite(primary, count), runMs: performance.now() - began });
    this.#next({ kind: 'compared', ...this.#differences(count) });
  }

  /** @returns false where the back-up threw */
  async #decideByBackup(count: number): Promise<boolean> {
    const backup = this.#sessions.backup!;
    try {
      await backup.run(count);
    } catch {
      this.#results.count('backupFailures');
      this.#next({ kind: 'backup-threw' });
      return false;
    }
    for (let row = 0; row < count; row++) this.#take('backup', row);
    this.#comparable = 'backup';
    return true;
  }

  async #decideByPrimary(count: number): Promise<void> {
    const { primary, backup } = this.#sessions;
    const began = performance.now();
    try {
      await primary.run(count);
    } catch (error) {
      if (!backup) throw error;
      this.#next({ kind: 'threw' });
      await backup.run(count).catch((cause: unknown) => {
        this.#results.count('backupFailures');
        throw cause;
      });
      for (let row = 0; row < count; row++) this.#take('backup', row);
      return;
    }
    const runMs = performance.now() - began;
    for (let row = 0; row < count; row++) this.#take('primary', row);
    const rescued = backup && this.#anyNotFinite(count) ? await this.#rescue(backup, count) : 0;
    if (backup) this.#next({ kind: 'ran', windows: count, notFinite: rescued, runMs });
    this.#comparable = rescued === 0 ? 'primary' : undefined;
  }

  /**
   * Lets the back-up answer windows that the primary could not.
   *
   * @returns those that it could: where neither can, the window is to blame and not the primary
   */
  async #rescue(backup: BatchSession, count: number): Promise<number> {
    try {
      await backup.run(count);
    } catch {
      this.#results.count('backupFailures');
      return 0;
    }
    const { states } = this.#results;
    let rescued = 0;
    for (let row = 0; row < count; row++) {
      if (states[row] !== RESULT.notFinite) continue;
      states[row] = RESULT.decided;
      this.#take('backup', row);
      if (states[row] === RESULT.decided) rescued++;
    }
    return rescued;
  }

  /** Copies a model's answer into the results. */
  #take(model: Model, row: number): void {
    const session = this.#sessions[model]!;
    const { probabilities, features, embedding, novelty, states, models, shape } = this.#results;
    const made = session.output('probabilities');
    for (let at = row * shape.classes; at < (row + 1) * shape.classes; at++) {
      probabilities[at] = made[at];
      if (!Number.isFinite(made[at]) && states[row] === RESULT.decided) states[row] = RESULT.notFinite;
    }
    models[row] = MODEL[model];
    if (model === 'backup' && states[row] === RESULT.decided) this.#results.count('decidedByBackup');
    // The back-up measures none of these: NaN is "not measured", and no window of commissioning. Its embedding lies in another space.
    const own = model === 'primary';
    if (own && shape.embedding > 0) copyRow(session.output('embedding'), embedding, row, shape.embedding);
    if (shape.novelty) novelty[row] = own ? session.output('novelty')[row] : Number.NaN;
    if (shape.features === 0) return;
    if (own) copyRow(session.output('features'), features, row, shape.features);
    else features.fill(Number.NaN, row * shape.features, (row + 1) * shape.features);
  }

  #anyByBase(count: number): boolean {
    for (let row = 0; row < count; row++) if (this.#adapters[row] === 0) return true;
    return false;
  }

  #anyNotFinite(count: number): boolean {
    const { states } = this.#results;
    for (let row = 0; row < count; row++) if (states[row] === RESULT.notFinite) return true;
    return false;
  }

  /** Decided windows for which a model gives no numbers. */
  #countNotFinite(session: BatchSession, count: number): number {
    const { states, shape } = this.#results;
    const made = session.output('probabilities');
    let rows = 0;
    for (let row = 0; row < count; row++) {
      if (states[row] !== RESULT.decided) continue;
      for (let at = row * shape.classes; at < (row + 1) * shape.classes; at++) {
        if (Number.isFinite(made[at])) continue;
        rows++;
        break;
      }
    }
    return rows;
  }

  /**
   * Decided windows, and those for which the two models name another class. A model without numbers names none. A stream's own adapter is there because
   * the base erred on it, as the back-up may still do: such windows tell nothing of the primary.
   */
  #differences(count: number): { windows: number; differed: number } {
    const { primary, backup } = this.#sessions;
    const { states, shape } = this.#results;
    const [one, other] = [primary.output('probabilities'), backup!.output('probabilities')];
    let [windows, differed] = [0, 0];
    for (let row = 0; row < count; row++) {
      if (states[row] !== RESULT.decided || this.#adapters[row] !== 0) continue;
      windows++;
      if (largest(one, row, shape.classes) !== largest(other, row, shape.classes)) differed++;
    }
    this.#results.count('compared', windows);
    this.#results.count('differed', differed);
    return { windows, differed };
  }

  #next(event: DualEvent): void {
    const before = this.#state.mode;
    this.#state = nextDualState(this.#state, event, this.#settings);
    const { mode, cause } = this.#state;
    if (mode === before) return;
    this.#results.setMode(mode);
    if (mode === 'backup') this.#results.count(cause!);
    else if (before === 'backup') this.#results.count('returns');
  }
}

function copyRow(from: Float32Array, to: Float32Array, row: number, width: number): void {
  for (let at = row * width; at < (row + 1) * width; at++) to[at] = from[at];
}

/** Column of the largest number of a row; -1 where a number is missing. */
function largest(values: Float32Array, row: number, classes: number): number {
  let best = row * classes;
  for (let at = best; at < (row + 1) * classes; at++) {
    if (!Number.isFinite(values[at])) return -1;
    if (values[at] > values[best]) best = at;
  }
  return best;
}
