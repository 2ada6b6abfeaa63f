import { type Bundle, bankLayout } from '../../models/bundle/bundle.ts';
import { emptyTensor, type Session, type TensorData } from '../../models/engine/engine.ts';
import { machineWindows } from '../fixtures/windows.ts';

/** Feeds of a batch for any deciding graph: no adapter, no reference. @param codes [batch, window, C]; made-up machines' windows by default */
export function batchFeeds(
  { manifest }: Bundle,
  { inputs }: Session,
  batch: number,
  codes = machineWindows({ frontEnd: { window: manifest.recipe.window, channels: manifest.recipe.channels.length } }, batch),
): Record<string, TensorData> {
  const rows = { adapterBank: [2, bankLayout(manifest).size] } as Record<string, readonly number[]>;
  return Object.fromEntries(
    inputs.map(({ name, type, shape }) => {
      const sizes = rows[name] ?? shape.map((size) => (typeof size === 'number' ? size : size === 'N' ? batch : 1));
      const tensor = emptyTensor(type, sizes);
      if (name === 'window') (tensor.values as Int16Array).set(codes);
      if (name === 'scale') (tensor.values as Float32Array).fill(1e-3);
      return [name, tensor];
    }),
  );
}
