import { brotliCompressSync, constants, gzipSync } from 'node:zlib';
import type { Graph } from '../../models/trace/graph.ts';

/** Bytes of something that is sent, as it is and packed. */
export interface TransportSize {
  readonly raw: number;
  readonly gzip: number;
  readonly brotli: number;
}

/** At the highest level of both, as an artifact that is packed once and sent often would be. */
export function transportSize(bytes: Uint8Array): TransportSize {
  const brotli = brotliCompressSync(bytes, {
    params: { [constants.BROTLI_PARAM_QUALITY]: constants.BROTLI_MAX_QUALITY, [constants.BROTLI_PARAM_SIZE_HINT]: bytes.length },
  });
  return { raw: bytes.length, gzip: gzipSync(bytes, { level: 9 }).length, brotli: brotli.length };
}

/** Share of zeros among the int8 weights of a graph; 0 where there are none. */
export function zeroShare(graph: Graph): number {
  let [zeros, all] = [0, 0];
  for (const { type, values } of graph.initializers.values()) {
    if (type !== 'int8') continue;
    all += values.length;
    for (const value of values) if (value === 0) zeros++;
  }
  return all === 0 ? 0 : zeros / all;
}
