import { elementCount, type Graph } from '../trace/graph.ts';

const BYTES_PER_NUMBER = 4;
/** Operators whose output is their input under another shape. */
const VIEWS = new Set(['Reshape', 'Identity', 'Squeeze', 'Unsqueeze']);

/**
 * Bytes that the values of a graph take at most at one time while it runs: each lives from the node that makes it to the last that reads it;
 * inputs and constants live throughout. What an engine really takes is more, because it keeps its memory in blocks.
 *
 * @param graph as traced, with a fixed batch: shapes are not part of an encoded graph
 */
export function peakBytes(graph: Graph): number {
  const { shapes = new Map<string, readonly number[]>() } = graph;
  /** What holds a value's memory: itself, or what it is a view of. */
  const holder = new Map<string, string>();
  const held = (name: string): string => holder.get(name) ?? name;
  const lastRead = new Map<string, number>();
  graph.nodes.forEach(({ op, inputs, outputs }, at) => {
    if (VIEWS.has(op)) holder.set(outputs[0], held(inputs[0]));
    for (const name of [...inputs, ...outputs]) lastRead.set(held(name), at);
  });
  for (const { name } of graph.outputs) lastRead.set(held(name), graph.nodes.length);

  const bytes = new Map<string, number>();
  let live = 0;
  const take = (name: string, size: number) => {
    bytes.set(name, size);
    live += size;
  };
  for (const { name, shape } of graph.inputs) {
    take(name, BYTES_PER_NUMBER * elementCount(shape.filter((size) => typeof size === 'number')));
    lastRead.set(name, graph.nodes.length);
  }
  for (const { name, values } of graph.initializers.values()) {
    take(name, values.byteLength);
    lastRead.set(name, graph.nodes.length);
  }
  let peak = live;
  graph.nodes.forEach(({ inputs, outputs }, at) => {
    for (const name of outputs) {
      if (held(name) !== name) continue;
      const shape = shapes.get(name);
      // Helper values of a row of the op table, whose shape nobody states, are turned inputs.
      take(name, shape ? BYTES_PER_NUMBER * elementCount(shape) : (bytes.get(held(inputs[0] ?? '')) ?? 0));
    }
    peak = Math.max(peak, live);
    for (const name of new Set([...inputs, ...outputs].map(held))) {
      if (lastRead.get(name) !== at) continue;
      live -= bytes.get(name) ?? 0;
      bytes.delete(name);
    }
  });
  return peak;
}
