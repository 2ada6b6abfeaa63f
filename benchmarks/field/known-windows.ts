import { decodeFrame } from '../../firmware-bridge/codec/index.ts';
import { bankLayout, bundleModel, FILES, readBundle } from '../../models/bundle/bundle.ts';
import type { Model, TensorData } from '../../models/engine/engine.ts';
import { createOnnxruntimeEngine } from '../../models/engine/onnxruntime-engine.ts';
import type { connectBroker } from '../../runtime/io/broker-client.ts';
import { floatModel } from '../engine/subjects.ts';
import { largestError } from '../harness/compare.ts';
import { SamplePackets } from '../streams/packets.ts';

/** Streams, each of another simulated machine, and the windows of each. */
const STREAMS = 16;
const WINDOWS = 4;
const FRAME_SAMPLES = 64;
/**
 * How far a peer may be from the bundle's graph in its own precision: other versions and engines round int8 otherwise now and then (tfjs wasm:
 * 0.004), another network is further away.
 */
const LARGEST_DIFFERENCE = { int8: 0.05, fp32: 1e-4 } as const;

/** How far the probabilities that a peer published for the same windows are from the bundle's. */
export interface Agreement {
  readonly windows: number;
  /** From the graph that gateways run, int8. */
  readonly int8: number;
  /** From the same network in fp32. */
  readonly fp32: number;
}

interface Topics {
  samples(stream: string): string;
  diagnosis(stream: string): string;
}

/** Frames of known windows, and what the bundle's graphs say of them: a peer that parses, cuts or computes something else is found out. */
export class KnownWindows {
  readonly #names: readonly string[];
  readonly #topics: Topics;
  /** Payloads, frame by frame of all streams. */
  readonly #frames: readonly Buffer[][];
  readonly #expected: { readonly int8: Float32Array; readonly fp32: Float32Array };

  private constructor(names: readonly string[], topics: Topics, frames: Buffer[][], expected: { int8: Float32Array; fp32: Float32Array }) {
    this.#names = names;
    this.#topics = topics;
    this.#frames = frames;
    this.#expected = expected;
  }

  /** @param folder of a bundle with its part `server` */
  static async make(folder: string, topics: Topics): Promise<KnownWindows> {
    const bundle = await readBundle(folder);
    const { window, stride, channels } = bundle.manifest.recipe;
    const names = Array.from({ length: STREAMS }, (_, index) => `known-${index}`);
    const packets = new SamplePackets(names.map(topics.samples), FRAME_SAMPLES);
    const rowLength = window * channels.length;
    const codes = new Int16Array(STREAMS * WINDOWS * rowLength);
    const scale = new Float32Array(STREAMS * WINDOWS * channels.length);
    const frames: Buffer[][] = [];
    const series = names.map(() => [] as number[]);
    for (let frame = 0; frame * FRAME_SAMPLES < window + (WINDOWS - 1) * stride; frame++) {
      frames.push(
        names.map((name, stream) => {
          const packet = Buffer.alloc(packets.bytesOf(stream));
          packets.write(stream, frame, packet, 0);
          const topic = topics.samples(name);
          const payload = packet.subarray(packet.indexOf(topic) + topic.length);
          const decoded = decodeFrame(payload);
          if (decoded.kind !== 'samples') throw new Error(`the generator's frame is ${decoded.kind}`);
          series[stream].push(...decoded.samples);
          if (frame === 0) for (let row = 0; row < WINDOWS; row++) scale.set(decoded.scales, (stream * WINDOWS + row) * channels.length);
          return payload;
        }),
      );
    }
    series.forEach((samples, stream) => {
      for (let row = 0; row < WINDOWS; row++) {
        const from = row * stride * channels.length;
        codes.set(samples.slice(from, from + rowLength), (stream * WINDOWS + row) * rowLength);
      }
    });
    const count = STREAMS * WINDOWS;
    const adapterNumbers = bankLayout(bundle.manifest).size;
    const feeds: Record<string, TensorData> = {
      window: { type: 'int16', shape: [count, window, channels.length], values: codes },
      scale: { type: 'float32', shape: [count, channels.length], values: scale },
      adapterBank: { type: 'float32', shape: [1, adapterNumbers], values: new Float32Array(adapterNumbers) },
      adapterIndex: { type: 'int32', shape: [count], values: new Int32Array(count) },
    };
    const engine = await createOnnxruntimeEngine();
    const decide = async (model: Model) => {
      const session = await engine.load(model);
      const { probabilities } = await session.run(feeds);
      await session.release();
      return probabilities.values as Float32Array;
    };
    const expected = { int8: await decide(bundleModel(bundle, FILES.infer)), fp32: await decide({ graph: await floatModel(folder) }) };
    return new KnownWindows(names, topics, frames, expected);
  }

  /**
   * Plays the frames to a side that is subscribed, and waits for its answers.
   *
   * @throws Error where its probabilities are not those of the bundle in that precision
   */
  async play(client: ReturnType<typeof connectBroker>, precision: 'int8' | 'fp32', words: () => string): Promise<Agreement> {
    const answers = new Map<string, number[]>();
    const wanted = STREAMS * WINDOWS;
    let all: () => void;
    const heard = new Promise<void>((resolve) => {
      all = resolve;
    });
    const hear = (_topic: string, payload: Buffer, { retain }: { retain: boolean }) => {
      // What the broker kept is the answer of the side before.
      if (retain) return;
      const { stream, endSequence, probabilities } = JSON.parse(payload.toString());
      if (this.#names.includes(stream)) answers.set(`${stream} ${endSequence}`, probabilities);
      if (answers.size === wanted) all();
    };
    const topics = this.#names.map(this.#topics.diagnosis);
    client.on('message', hear);
    await client.subscribeAsync(topics, { qos: 0 });
    let limit: NodeJS.Timeout | undefined;
    const late = new Promise<never>((_, reject) => {
      limit = setTimeout(() => reject(new Error(`${answers.size} of ${wanted} known windows answered within 30 s: ${words()}`)), 30_000);
    });
    try {
      for (const frame of this.#frames) {
        frame.forEach((payload, stream) => {
          client.publish(this.#topics.samples(this.#names[stream]), payload);
        });
        await new Promise((resolve) => setTimeout(resolve, 10));
      }
      await Promise.race([heard, late]);
    } finally {
      clearTimeout(limit);
      client.removeListener('message', hear);
      await client.unsubscribeAsync(topics);
    }
    // Windows of a stream lie behind one another, in the order of their ends.
    const end = (key: string) => Number(key.split(' ')[1]);
    const given = this.#names.flatMap((name) =>
      [...answers.keys()]
        .filter((key) => key.startsWith(`${name} `))
        .sort((a, b) => end(a) - end(b))
        .flatMap((key) => answers.get(key)!),
    );
    const { int8, fp32 } = this.#expected;
    const agreement: Agreement = { windows: wanted, int8: largestError(given, int8), fp32: largestError(given, fp32) };
    if (!(agreement[precision] <= LARGEST_DIFFERENCE[precision]))
      throw new Error(`probabilities differ by ${agreement[precision]} from the bundle's in ${precision}: not the same windows or network`);
    return agreement;
  }
}
