import { DEFAULT_SCHEME } from '../../models/adapters/scheme.ts';
import { createOnnxruntimeEngine } from '../../models/engine/onnxruntime-engine.ts';
import { STUDENT } from '../../models/networks/attention-network.ts';
import { adapterFeeds, floatGraph, int8Graph, load } from '../fixtures/inference.ts';
import { fixture } from '../fixtures/networks.ts';
import { machineWindows, saturatedWindows, windowFeeds } from '../fixtures/windows.ts';
import type { Scenario } from '../harness/scenario.ts';

const BATCH = 64;

/** One window's logits alone against the same window at every place of a batch whose other windows are at full scale. */
const isolation = (precision: 'int8' | 'fp32', threads: 1 | 2): Scenario => ({
  id: `${precision}.isolation.threads${threads}`,
  what: `${precision} logits of a window alone against any place of a batch of ${BATCH} beside saturated windows, ${threads} thread${threads > 1 ? 's' : ''}: largest difference`,
  unit: '',
  // Equal to the last bit is the aim; 1e-5 is allowed where an engine's kernels differ by shape.
  target: { atMost: 1e-5 },
  async measure({ quick }) {
    const made = fixture(STUDENT);
    const { network } = made;
    const engine = await createOnnxruntimeEngine({ threads });
    const graph = precision === 'int8' ? await int8Graph(engine, made, DEFAULT_SCHEME) : floatGraph(made, DEFAULT_SCHEME);
    const session = await load(engine, graph);
    const { classes } = network;
    const size = network.frontEnd.window * network.frontEnd.channels;
    const probes = quick ? 1 : 4;
    let [largest, compared] = [0, 0];
    for (let probe = 0; probe < probes; probe++) {
      const codes = machineWindows(network, 1, 50 + probe);
      const logitsOf = async (windows: Int16Array, adapters: Int32Array) =>
        (await session.run({ ...windowFeeds(network, windows), ...adapterFeeds(network, DEFAULT_SCHEME, adapters) })).logits
          .values as Float32Array;
      // Slot 0 is the bare base; the others are adapters.
      const alone = await logitsOf(codes, Int32Array.of(probe));
      const [saturated, others] = [saturatedWindows(network, BATCH, probe), machineWindows(network, BATCH, 90 + probe)];
      for (let place = 0; place < BATCH; place += quick ? 9 : 1) {
        // Every neighbour saturated, then one saturated neighbour among ordinary windows.
        const mixed = others.slice();
        const next = ((place + 1) % BATCH) * size;
        mixed.set(saturated.subarray(next, next + size), next);
        for (const neighbours of [saturated.slice(), mixed]) {
          neighbours.set(codes, place * size);
          const adapters = Int32Array.from({ length: BATCH }, (_, row) => (row * 7) % 65);
          adapters[place] = probe;
          const together = (await logitsOf(neighbours, adapters)).subarray(place * classes, (place + 1) * classes);
          for (let index = 0; index < classes; index++) largest = Math.max(largest, Math.abs(together[index] - alone[index]));
          compared += classes;
        }
      }
    }
    await session.release();
    return { figure: largest, samples: compared, details: { 'to the last bit': largest === 0 ? 'equal' : 'different' } };
  },
});

export const ISOLATION: readonly Scenario[] = [isolation('int8', 1), isolation('int8', 2), isolation('fp32', 1), isolation('fp32', 2)];
