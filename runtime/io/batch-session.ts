import { emptyTensor, type Session, type TensorData } from '../../models/engine/engine.ts';

/** Inputs of the deciding graphs with memory for the largest batch; both networks of a bundle read the same. */
export type LargestFeeds = Readonly<Record<string, TensorData>>;

/** Runs batches of any size up to the largest through one session, without allocating: feeds and fetches of each size are views made once. */
export class BatchSession {
  readonly #session: Session;
  readonly #largest: LargestFeeds;
  readonly #outputs: Readonly<Record<string, TensorData>>;
  readonly #banks: ReadonlySet<string>;
  readonly #bySize = new Map<number, { feeds: Record<string, TensorData>; fetches: Record<string, TensorData> }>();

  /**
   * @param feeds tensors whose first axis is the largest batch for each window, those of `banks` as they are
   * @param banks inputs that all windows share
   * @throws Error where the graph has an input that is not among them
   */
  constructor(session: Session, feeds: LargestFeeds, largest: number, banks: Readonly<Record<string, TensorData>>) {
    this.#session = session;
    this.#largest = { ...feeds, ...banks };
    this.#outputs = Object.fromEntries(
      session.outputs.map(({ name, type, shape }) => [name, emptyTensor(type, [largest, ...shape.slice(1).map(Number)])]),
    );
    this.#banks = new Set(Object.keys(banks));
    const unknown = session.inputs.find(({ name }) => !this.#largest[name]);
    if (unknown) throw new Error(`the graph asks for ${unknown.name}, which a gateway does not have`);
  }

  has(output: string): boolean {
    return output in this.#outputs;
  }

  /** Memory of an output, [largest, …]: its first rows after a run. */
  output(name: string): Float32Array {
    return this.#outputs[name].values as Float32Array;
  }

  async run(count: number): Promise<void> {
    let sized = this.#bySize.get(count);
    if (!sized) {
      const inputs = this.#session.inputs.map(({ name }): [string, TensorData] => [name, this.#largest[name]]);
      sized = {
        feeds: Object.fromEntries(inputs.map(([name, tensor]) => [name, this.#banks.has(name) ? tensor : firstRows(tensor, count)])),
        fetches: Object.fromEntries(Object.entries(this.#outputs).map(([name, tensor]) => [name, firstRows(tensor, count)])),
      };
      this.#bySize.set(count, sized);
    }
    await this.#session.run(sized.feeds, sized.fetches);
  }
}

/** A view of the first rows of a tensor. */
function firstRows({ type, shape, values }: TensorData, count: number): TensorData {
  const [rows, ...rest] = shape;
  return { type, shape: [count, ...rest], values: values.subarray(0, (count * values.length) / rows) as TensorData['values'] };
}
