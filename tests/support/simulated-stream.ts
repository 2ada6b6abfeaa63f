import { bankLayout, bundleModel, FILES, readBundle } from '../../models/bundle/bundle.ts';
import { emptyTensor } from '../../models/engine/engine.ts';
import { createOnnxruntimeEngine } from '../../models/engine/onnxruntime-engine.ts';
import type { DriftSignal } from '../../runtime/contracts/drift.ts';
import type { DriftService } from '../../runtime/io/drift-service.ts';
import type { WindowJob } from '../../runtime/stream/stream-gateway.ts';

/** Physical units a code of the samples. */
const SCALE = 0.0005;

interface GraphAnswer {
  readonly probabilities: Float32Array;
  readonly embedding: Float32Array;
  readonly novelty?: number;
}

/** The shipped model without a gateway about it: samples in, what its graph gives for each window out, as the gateway's hook says it. */
export class ShippedModel {
  readonly #answer: (codes: Int16Array) => Promise<GraphAnswer>;
  readonly manifest: Awaited<ReturnType<typeof readBundle>>['manifest'];
  #codes = new Int16Array(0);

  private constructor(manifest: ShippedModel['manifest'], answer: (codes: Int16Array) => Promise<GraphAnswer>) {
    this.manifest = manifest;
    this.#answer = answer;
  }

  static async load(folder = new URL('../../models/shipped/plant', import.meta.url).pathname): Promise<ShippedModel> {
    const bundle = await readBundle(folder);
    const session = await (await createOnnxruntimeEngine()).load(bundleModel(bundle, FILES.infer));
    const adapterBank = emptyTensor('float32', [1, bankLayout(bundle.manifest).size]);
    return new ShippedModel(bundle.manifest, async (codes) => {
      const made = await session.run({
        window: { type: 'int16', shape: [1, 512, 3], values: codes },
        scale: { type: 'float32', shape: [1, 3], values: new Float32Array(3).fill(SCALE) },
        adapterBank,
        adapterIndex: emptyTensor('int32', [1]),
      });
      const values = (name: string) => made[name].values as Float32Array;
      return {
        probabilities: values('probabilities'),
        embedding: values('embedding'),
        ...(made.novelty && { novelty: values('novelty')[0] }),
      };
    });
  }

  /** For a DriftService: the codes of the window that is decided just now. */
  readonly copyWindow = (_: WindowJob, into: Int16Array): boolean => {
    into.set(this.#codes);
    return true;
  };

  /** Decides so many windows of a source of samples [n, 3], which may say its speed, and tells the service. @returns the signals */
  async feed(
    service: DriftService,
    name: string,
    windows: number,
    next: (samples: Float32Array) => number | undefined,
  ): Promise<DriftSignal[]> {
    const signals: DriftSignal[] = [];
    const samples = new Float32Array(3 * 512);
    let shaftSpeedRpm = next(samples);
    const fresh = new Float32Array(3 * 256);
    for (let window = 0; window < windows; window++) {
      this.#codes = Int16Array.from(samples, (value) => Math.max(-32_767, Math.min(32_767, Math.round(value / SCALE))));
      const job: WindowJob = {
        stream: 0,
        end: 0,
        name,
        epoch: 0,
        endSequence: 256 * window + 512,
        endDeviceUs: 0,
        arrivedMs: 0,
        adapter: 0,
        reference: 0,
        scales: new Float32Array(3).fill(SCALE),
        shaftSpeedRpm,
      };
      const signal = service.observe(job, await this.#answer(this.#codes));
      if (signal) signals.push(signal);
      shaftSpeedRpm = next(fresh);
      samples.copyWithin(0, 3 * 256);
      samples.set(fresh, 3 * 256);
    }
    return signals;
  }
}
