import { type Bundle, bankLayout, bundleModel, FILES } from '../../models/bundle/bundle.ts';
import { type Engine, emptyTensor, type Session, type TensorData } from '../../models/engine/engine.ts';
import type { Windows } from '../data/windows.ts';
import { commissionMachines, inferenceFeeds, partOf } from '../release/make-bundle.ts';
import { pickWindows } from './sampling.ts';

const BATCH = 64;

/** The deciding graph of a bundle, without an adapter, fed as a gateway feeds it: int16 codes with a scale a window and channel. */
export class BundleDecider {
  readonly #session: Session;
  readonly #shape: { window: number; channels: number };
  readonly #bank: TensorData;
  #references: TensorData | undefined;

  private constructor(session: Session, { manifest }: Bundle) {
    this.#session = session;
    this.#shape = { window: manifest.recipe.window, channels: manifest.recipe.channels.length };
    this.#bank = emptyTensor('float32', [1, bankLayout(manifest).size]);
  }

  static async open(engine: Engine, bundle: Bundle): Promise<BundleDecider> {
    return new BundleDecider(await engine.load(bundleModel(bundle, FILES.infer)), bundle);
  }

  /** Makes the references of the windows' machines, where the graph takes any; must come before a window is decided. */
  async commission(windows: Windows): Promise<void> {
    if (!this.#session.inputs.some(({ name }) => name === 'referenceBank')) return;
    this.#references = await commissionMachines(this.#session, windows, this.#shape, this.#bank);
  }

  get session(): Session {
    return this.#session;
  }

  async release(): Promise<void> {
    await this.#session.release();
  }

  /** Feeds of one window, for timing. */
  feedsOf(windows: Windows, row: number): Record<string, TensorData> {
    return inferenceFeeds(pickWindows(windows, [row]), this.#shape, this.#bank, 0, undefined, this.#references);
  }

  /** One output's rows for every window, [count, width]. */
  async run(windows: Windows, output: string, signal?: AbortSignal): Promise<Float32Array> {
    return (await this.runAll(windows, [output], signal))[output];
  }

  /** Some outputs' rows for every window, [count, width] each. */
  async runAll<Name extends string>(windows: Windows, outputs: readonly Name[], signal?: AbortSignal): Promise<Record<Name, Float32Array>> {
    const { window, channels } = this.#shape;
    const size = window * channels;
    const parts: Record<string, TensorData>[] = [];
    for (let from = 0; from < windows.count; from += BATCH) {
      signal?.throwIfAborted();
      const count = Math.min(BATCH, windows.count - from);
      const part = partOf(windows, size, from, count);
      parts.push(await this.#session.run(inferenceFeeds(part, this.#shape, this.#bank, 0, undefined, this.#references)));
      // A run blocks this thread; a turn of the event loop lets signals and the progress bar through.
      await new Promise((resolve) => setImmediate(resolve));
    }
    const joined = outputs.map((output) => [output, joinRows(parts.map((part) => part[output].values as Float32Array))]);
    return Object.fromEntries(joined) as Record<Name, Float32Array>;
  }

  /** [count, classes] */
  async probabilitiesOf(windows: Windows, signal?: AbortSignal): Promise<Float32Array> {
    return windows.count === 0 ? new Float32Array(0) : this.run(windows, 'probabilities', signal);
  }
}

function joinRows(parts: readonly Float32Array[]): Float32Array {
  const all = new Float32Array(parts.reduce((sum, part) => sum + part.length, 0));
  let at = 0;
  for (const part of parts) {
    all.set(part, at);
    at += part.length;
  }
  return all;
}
