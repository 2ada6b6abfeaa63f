import { ARRAY_OF_TYPE, type ElementType, elementCount, type ValueInfo, type Values } from '../trace/graph.ts';

/** A tensor as engines take and give it. Row-major. */
export interface TensorData {
  readonly type: ElementType;
  readonly shape: readonly number[];
  readonly values: Values;
}

/** The bytes of a graph and of the weight files that it names. */
export interface Model {
  readonly graph: Uint8Array;
  readonly files?: ReadonlyMap<string, Uint8Array>;
}

/** A graph that is ready to run. One run at a time. */
export interface Session {
  readonly inputs: readonly ValueInfo[];
  readonly outputs: readonly ValueInfo[];
  /**
   * @param feeds every input by name
   * @param fetches outputs to write into memory of the caller's, by name; all others are made anew
   * @returns every output by name
   * @throws Error where an input is missing or has another type or shape than the graph says
   */
  run(feeds: Readonly<Record<string, TensorData>>, fetches?: Readonly<Record<string, TensorData>>): Promise<Record<string, TensorData>>;
  release(): Promise<void>;
}

export interface EngineOptions {
  /** Threads inside one operator. Default 1. */
  readonly threads?: number;
  /** Whether waiting threads spin: faster on quiet cores, ruinous on shared ones. Default false. */
  readonly spinning?: boolean;
}

/** Something that runs graphs. */
export interface Engine {
  readonly name: string;
  readonly version: string;
  readonly threads: number;
  /** @throws Error where the graph or a weight file is not what the engine can run */
  load(model: Model): Promise<Session>;
}

/** A feed or a fetch: zeros of a type and shape. */
export function emptyTensor(type: ElementType, shape: readonly number[]): TensorData {
  return { type, shape, values: new ARRAY_OF_TYPE[type](elementCount(shape)) };
}

export function floatTensor(values: Float32Array, shape: readonly number[]): TensorData {
  return { type: 'float32', shape, values };
}

export function scalarTensor(value: number): TensorData {
  return { type: 'float32', shape: [], values: Float32Array.of(value) };
}
