import { type Bundle, bankLayout, bundleModel, FILES } from '../../models/bundle/bundle.ts';
import { type Engine, emptyTensor, type Session, type TensorData } from '../../models/engine/engine.ts';
import type { Windows } from '../data/windows.ts';
import { inferenceFeeds } from '../release/make-bundle.ts';
import { pickWindows } from './sampling.ts';

const BATCH = 64;

/** The deciding graph of a bundle, without an adapter, fed as a gateway feeds it: int16 codes with a scale a window and channel. */
export class BundleDecider {
  readonly #session: Session;
  readonly #shape: { window: number; channels: number };
  readonly #bank: TensorData;

  private constructor(session: Session, { manifest }: Bundle) {
    this.#session = session;
    this.#shape = { window: manifest.recipe.window, channels: manifest.recipe.channels.length };
    this.#bank = emptyTensor('float32', [1, bankLayout(manifest).size]);
  }

  static async open(engine: Engine, bundle: Bundle): Promise<BundleDecider> {
    return new BundleDecider(await engine.load(bundleModel(bundle, FILES.infer)), bundle);
  }

  get session(): Session {
    return this.#session;
  }

  async release(): Promise<void> {
    await this.#session.release();
  }

  /** Feeds of one window, for timing. */
  feedsOf(windows: Windows, row: number): Record<string, TensorData> {
    return inferenceFeeds(pickWindows(windows, [row]), this.#shape, this.#bank, 0);
  }

  /** One output's rows for every window, [count, width]. */
  async run(windows: Windows, output: string, signal?: AbortSignal): Promise<Float32Array> {
    const { window, channels } = this.#shape;
    const size = window * channels;
    const parts: Float32Array[] = [];
    for (let from = 0; from < windows.count; from += BATCH) {
      signal?.throwIfAborted();
      const count = Math.min(BATCH, windows.count - from);
      const part: Windows = { ...windows, samples: windows.samples.subarray(from * size, (from + count) * size), count };
      parts.push((await this.#session.run(inferenceFeeds(part, this.#shape, this.#bank, 0)))[output].values as Float32Array);
      // A run blocks this thread; a turn of the event loop lets signals and the progress bar through.
      await new Promise((resolve) => setImmediate(resolve));
    }
    const all = new Float32Array(parts.reduce((sum, part) => sum + part.length, 0));
    let at = 0;
    for (const part of parts) {
      all.set(part, at);
      at += part.length;
    }
    return all;
  }

  /** [count, classes] */
  async probabilitiesOf(windows: Windows, signal?: AbortSignal): Promise<Float32Array> {
    return windows.count === 0 ? new Float32Array(0) : this.run(windows, 'probabilities', signal);
  }
}
