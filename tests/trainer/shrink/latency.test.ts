import { describe, expect, it } from 'vitest';
import type { Engine, Session } from '../../../models/engine/engine.ts';
import { floatTensor } from '../../../models/engine/engine.ts';
import { createOnnxruntimeEngine } from '../../../models/engine/onnxruntime-engine.ts';
import { STUDENT } from '../../../models/networks/attention-network.ts';
import { createNetwork } from '../../../models/networks/index.ts';
import { Random } from '../../../models/networks/random.ts';
import { encodeOnnx } from '../../../models/trace/onnx.ts';
import { traceInference } from '../../../models/training/trace-inference.ts';
import { type LatencySubject, measureLatency } from '../../../trainer/shrink/latency.ts';

const feeds = (batch: number) => ({ window: floatTensor(new Float32Array(batch), [batch]) });
const subject = (name: string, index: number): LatencySubject => ({ name, graph: Uint8Array.of(index), feeds: feeds(1) });

/** Runs of so many milliseconds of work each, by the graph's first byte, written down in their order. */
function pretendEngine(workMs: readonly number[]): { engine: Engine; runs: number[]; released: number[] } {
  const [runs, released]: [number[], number[]] = [[], []];
  const engine = {
    name: 'pretended',
    version: '0',
    threads: 1,
    async load({ graph: [which] }: { graph: Uint8Array }): Promise<Session> {
      if (workMs[which] < 0) throw new Error('cannot load');
      return {
        inputs: [],
        outputs: [],
        async run() {
          const until = performance.now() + workMs[which];
          while (performance.now() < until);
          runs.push(which);
          return {};
        },
        async release() {
          released.push(which);
        },
      };
    },
  };
  return { engine, runs, released };
}

describe('measuring latency', () => {
  it('takes turns, and gives each its own medians', async () => {
    const { engine, runs, released } = pretendEngine([0.5, 20]);
    const [quick, slow] = await measureLatency(engine, [subject('quick', 0), subject('slow', 1)], { batch: 1, rounds: 8 });
    expect([quick.name, slow.name]).toEqual(['quick', 'slow']);
    expect(quick.latencyMs).toBeGreaterThanOrEqual(0.5);
    expect(slow.latencyMs).toBeGreaterThanOrEqual(20);
    expect(slow.cpuMs).toBeGreaterThan(2 * quick.cpuMs);
    expect(quick.quartilesMs[0]).toBeLessThanOrEqual(quick.cpuMs);
    expect(quick.quartilesMs[1]).toBeGreaterThanOrEqual(quick.cpuMs);
    // Every round has each once: the runs fall into blocks, and no block is longer than two turns of one.
    const blocks = runs.join('').match(/0+|1+/g)!;
    expect(blocks.length).toBeGreaterThanOrEqual(6);
    // More calls of what is quick, so that turns last alike.
    expect(runs.filter((which) => which === 0).length).toBeGreaterThan(2 * runs.filter((which) => which === 1).length);
    expect(released).toEqual([0, 1]);
  });

  it('refuses feeds of another batch before anything is loaded', async () => {
    const { engine, runs } = pretendEngine([1]);
    await expect(measureLatency(engine, [{ ...subject('pair', 0), feeds: feeds(2) }])).rejects.toThrow(
      'pair is fed 2 windows a call, not 1',
    );
    expect(runs).toEqual([]);
  });

  it('releases what it loaded where a later model fails', async () => {
    const { engine, released } = pretendEngine([1, -1]);
    await expect(measureLatency(engine, [subject('fine', 0), subject('broken', 1)])).rejects.toThrow('cannot load');
    expect(released).toEqual([0]);
  });

  it('tells a large network from a small one on the real engine', async () => {
    const engine = await createOnnxruntimeEngine();
    const model = (width: number, layers: number): LatencySubject => {
      const network = createNetwork({ ...STUDENT, channels: 1, width, headDepth: width / 8, layers });
      const weights = {
        parameters: network.parameters.initialize(new Random(1)),
        statistics: network.statistics.initialize(new Random(1)),
      };
      return {
        name: `${width}`,
        graph: encodeOnnx(traceInference(network, { input: 'float32', reference: false, temperature: 1 }, weights)),
        feeds: { window: floatTensor(new Float32Array(512).fill(1), [1, 512, 1]), scale: floatTensor(Float32Array.of(1), [1, 1]) },
      };
    };
    const [small, large] = await measureLatency(engine, [model(16, 1), model(192, 4)], { batch: 1, rounds: 5 });
    expect(large.cpuMs).toBeGreaterThan(2 * small.cpuMs);
  });
});
