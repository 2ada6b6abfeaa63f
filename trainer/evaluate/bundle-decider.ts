import { type Bundle, bankLayout, bundleModel, FILES } from '../../models/bundle/bundle.ts';
import { type Engine, emptyTensor, floatTensor, type Session, type TensorData } from '../../models/engine/engine.ts';
import type { Windows } from '../data/windows.ts';
import { inferenceFeeds } from '../release/feeds.ts';
import { bankOfMeans } from '../train/reference-bank.ts';
import { joinRows, sliceWindows } from './sampling.ts';

const BATCH = 64;

/** Samples and channels of a window. */
export interface WindowShape {
  readonly window: number;
  readonly channels: number;
}

/** A deciding graph without an adapter, fed as a gateway feeds it: int16 codes with a scale a window and channel. */
export class BundleDecider {
  readonly session: Session;
  readonly #shape: WindowShape;
  readonly #bank: TensorData;
  #references: TensorData | undefined;

  /**
   * @param session released with this
   * @param adapterSize numbers of an adapter, in a row of the bank
   * @param references bank [K, R] of machines that are commissioned already
   */
  constructor(session: Session, shape: WindowShape, adapterSize: number, references?: TensorData) {
    this.session = session;
    this.#shape = shape;
    this.#bank = emptyTensor('float32', [1, adapterSize]);
    this.#references = references;
  }

  /** The deciding graph of a bundle. */
  static async open(engine: Engine, bundle: Bundle): Promise<BundleDecider> {
    const { recipe } = bundle.manifest;
    const shape = { window: recipe.window, channels: recipe.channels.length };
    return new BundleDecider(await engine.load(bundleModel(bundle, FILES.infer)), shape, bankLayout(bundle.manifest).size);
  }

  /**
   * Commissions machines as a gateway does, by the graph's own output `features` over healthy windows, where the graph takes references; must come
   * before a window is decided.
   *
   * @returns the bank of references [K, R]; undefined where the graph takes none
   * @throws Error where the windows know of no references
   */
  async commission({ commissioning }: Windows): Promise<TensorData | undefined> {
    const input = this.session.inputs.find(({ name }) => name === 'referenceBank');
    if (!input) return undefined;
    if (!commissioning) throw new Error('the deciding graph takes references, and these windows know of none');
    const { references } = commissioning;
    const size = input.shape[1] as number;
    this.#references = emptyTensor('float32', [1, size]);
    const means = await this.run({ ...references, commissioning: undefined }, 'features');
    const values = bankOfMeans(means, references.commissioning!.machines);
    this.#references = floatTensor(values, [values.length / size, size]);
    return this.#references;
  }

  async release(): Promise<void> {
    await this.session.release();
  }

  /** Feeds of all the windows at once. */
  feeds(windows: Windows): Record<string, TensorData> {
    return inferenceFeeds(windows, this.#shape, this.#bank, 0, undefined, this.#references);
  }

  /** One output's rows for every window, [count, width]. */
  async run(windows: Windows, output: string, signal?: AbortSignal): Promise<Float32Array> {
    return (await this.runAll(windows, [output], signal))[output];
  }

  /** Some outputs' rows for every window, [count, width] each. */
  async runAll<Name extends string>(windows: Windows, outputs: readonly Name[], signal?: AbortSignal): Promise<Record<Name, Float32Array>> {
    const parts: Record<string, TensorData>[] = [];
    for (let from = 0; from < windows.count; from += BATCH) {
      signal?.throwIfAborted();
      parts.push(await this.session.run(this.feeds(sliceWindows(windows, from, Math.min(BATCH, windows.count - from)))));
      // A run blocks this thread; a turn of the event loop lets signals and the progress bar through.
      await new Promise((resolve) => setImmediate(resolve));
    }
    const joined = outputs.map((output) => [output, joinRows(parts.map((part) => part[output].values as Float32Array))]);
    return Object.fromEntries(joined) as Record<Name, Float32Array>;
  }

  /** [count, classes] */
  probabilitiesOf(windows: Windows, signal?: AbortSignal): Promise<Float32Array> {
    return this.run(windows, 'probabilities', signal);
  }
}
