import type { Network } from '../../models/networks/network.ts';
import { type Graph, type Initializer, prune } from '../../models/trace/graph.ts';

/** Name of the cut graph's input for one kind of features, [N, tokens, width]. */
export const partInput = (kind: string): string => `features.${kind}`;

/**
 * The deciding graph without its front end: what is left of it decides on standardised features, as replay windows are kept.
 *
 * Names do not survive the encoding, so the place is found by the numbers: subtract the mean, multiply with the inverse deviation.
 *
 * @param statistics of the network, which the graph carries
 * @throws Error where the graph does not standardise with these statistics
 */
export function cutAtFeatures(graph: Graph, network: Network, statistics: Float32Array): Graph {
  const holds = (name: string, expected: Float32Array): boolean => {
    const constant: Initializer | undefined = graph.initializers.get(name);
    return constant?.values.length === expected.length && expected.every((value, index) => value === constant.values[index]);
  };
  const taken = new Set<string>();
  const parts = network.parts.map(({ kind, tokens, width }) => {
    const mean = network.statistics.view(statistics, `${kind}.mean`);
    const inverse = network.statistics.view(statistics, `${kind}.inverseDeviation`);
    const made = graph.nodes.find((node) => {
      if (node.op !== 'Mul' || taken.has(node.outputs[0]) || !node.inputs.some((name) => holds(name, inverse))) return false;
      const centred = graph.nodes.find((other) => other.op === 'Sub' && node.inputs.includes(other.outputs[0]));
      return centred !== undefined && holds(centred.inputs[1], mean);
    });
    if (!made) throw new Error(`the deciding graph does not standardise its ${kind} features with the statistics of the base`);
    taken.add(made.outputs[0]);
    return { from: made.outputs[0], to: partInput(kind), shape: ['N', tokens, width] };
  });
  const renamed = new Map(parts.map(({ from, to }) => [from, to]));
  const cut: Graph = {
    inputs: [
      ...parts.map(({ to, shape }) => ({ name: to, type: 'float32' as const, shape })),
      ...graph.inputs.filter(({ name }) => name !== 'window' && name !== 'scale'),
    ],
    outputs: [...graph.outputs],
    // Nothing external: the graph is loaded without the bundle's weight file.
    initializers: new Map([...graph.initializers].map(([name, constant]) => [name, { ...constant, external: undefined }])),
    nodes: graph.nodes
      .filter((node) => !renamed.has(node.outputs[0]))
      .map((node) => ({ ...node, inputs: node.inputs.map((name) => renamed.get(name) ?? name) }))
      // The batch size, which was read from the window.
      .map((node) => (node.op === 'Shape' && node.inputs[0] === 'window' ? { ...node, inputs: [parts[0].to] } : node)),
  };
  prune(cut);
  return cut;
}
