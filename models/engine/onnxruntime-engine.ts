import type { ElementType, Graph, ValueInfo } from '../trace/graph.ts';
import type { Engine, EngineOptions, Model, Session, TensorData } from './engine.ts';

type Ort = typeof import('onnxruntime-node');
type OrtTensor = InstanceType<Ort['Tensor']>;
type OrtSession = Awaited<ReturnType<Ort['InferenceSession']['create']>>;

class OnnxruntimeSession implements Session {
  readonly #ort: Ort;
  readonly #session: OrtSession;
  readonly inputs: Session['inputs'];
  readonly outputs: Session['outputs'];
  /** onnxruntime's view of a caller's tensor, so that a feed used every hop is wrapped once. */
  readonly #wrapped = new WeakMap<TensorData, OrtTensor>();

  constructor(ort: Ort, session: OrtSession) {
    this.#ort = ort;
    this.#session = session;
    this.inputs = session.inputMetadata.map(valueInfo);
    this.outputs = session.outputMetadata.map(valueInfo);
  }

  #wrap(tensor: TensorData): OrtTensor {
    let made = this.#wrapped.get(tensor);
    if (!made) {
      made = new this.#ort.Tensor(tensor.type, tensor.values as never, tensor.shape) as OrtTensor;
      this.#wrapped.set(tensor, made);
    }
    return made;
  }

  async run(
    feeds: Readonly<Record<string, TensorData>>,
    fetches: Readonly<Record<string, TensorData>> = {},
  ): Promise<Record<string, TensorData>> {
    const given: Record<string, OrtTensor> = {};
    for (const { name } of this.inputs) {
      const feed = feeds[name];
      if (!feed) throw new Error(`graph input ${name} is missing`);
      given[name] = this.#wrap(feed);
    }
    const wanted: Record<string, OrtTensor | null> = {};
    for (const { name } of this.outputs) wanted[name] = fetches[name] ? this.#wrap(fetches[name]) : null;
    const made = await this.#session.run(given, wanted);
    const results: Record<string, TensorData> = {};
    for (const { name, type } of this.outputs) {
      results[name] = fetches[name] ?? {
        type,
        shape: made[name].dims,
        values: made[name].data as TensorData['values'],
      };
    }
    return results;
  }

  async release(): Promise<void> {
    await this.#session.release();
  }
}

/** @throws Error where it is no tensor, which no graph of ours has */
function valueInfo(value: OrtSession['inputMetadata'][number]): ValueInfo {
  if (!value.isTensor) throw new Error(`${value.name} is no tensor`);
  return { name: value.name, type: value.type as ElementType, shape: value.shape };
}

/** Where onnxruntime computes. */
export type Provider = 'cpu' | 'cuda';

/** Nothing but an output: shows whether a provider can be loaded at all. */
const PROBE: Graph = {
  inputs: [],
  outputs: [{ name: 'y', type: 'float32', shape: [] }],
  initializers: new Map([['x', { name: 'x', type: 'float32', shape: [], values: Float32Array.of(1) }]]),
  nodes: [{ op: 'Identity', inputs: ['x'], outputs: ['y'], attributes: {} }],
};

/** Loads the library and lets it set itself up, which need not wait for a model. */
export async function warmOnnxruntime(): Promise<void> {
  const { load } = await createOnnxruntimeEngine();
  // It sets itself up for the first model, and then refuses this one.
  await load({ graph: new Uint8Array() }).catch(() => {});
}

/**
 * Engine on onnxruntime-node: x64 and arm64 with glibc. Loaded on first use. A run blocks the thread it is called on.
 *
 * @throws Error where the provider is not there (CUDA's libraries are not part of the package); on CUDA it was never run
 */
export async function createOnnxruntimeEngine({
  threads = 1,
  spinning = false,
  provider = 'cpu',
}: EngineOptions & { readonly provider?: Provider } = {}): Promise<Engine> {
  // CommonJS: the default export is the module under Node, the names are there under bundlers.
  const module = (await import('onnxruntime-node')) as Ort & { default?: Ort };
  const ort = module.default ?? module;
  const executionProviders = provider === 'cpu' ? ['cpu'] : [provider, 'cpu'];
  if (provider !== 'cpu') {
    // The reason comes as the error; onnxruntime would also print it.
    ort.env.logLevel = 'fatal';
    const { encodeOnnx } = await import('../trace/onnx.ts');
    const session = await ort.InferenceSession.create(encodeOnnx(PROBE), { executionProviders });
    await session.release();
  }
  return {
    name: provider === 'cpu' ? 'onnxruntime' : `onnxruntime-${provider}`,
    version: ort.env.versions.common,
    threads,
    async load({ graph, files }: Model): Promise<Session> {
      const session = await ort.InferenceSession.create(graph, {
        executionProviders,
        graphOptimizationLevel: 'all',
        intraOpNumThreads: threads,
        interOpNumThreads: 1,
        executionMode: 'sequential',
        externalData: [...(files ?? [])].map(([path, data]) => ({
          path,
          data,
        })),
        extra: {
          session: { intra_op: { allow_spinning: spinning ? '1' : '0' } },
        },
        logSeverityLevel: 3,
      });
      return new OnnxruntimeSession(ort, session);
    },
  };
}
