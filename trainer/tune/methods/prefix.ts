import type { TuneMethod } from '../method.ts';
import { trainAdapter } from '../train-adapter.ts';

/** Learned keys and values before those of every attention layer (Li and Liang 2021). Cannot be merged: its bundle carries it as the adapter. */
export const prefix: TuneMethod = {
  name: 'prefix',
  summary: 'learned keys and values before those of every attention layer',
  impossible: ({ network }) => (network.attention ? undefined : `a ${network.kind} network has no attention for a prefix`),
  tune: (context, shots, replay) => trainAdapter(context, { kind: 'prefix', length: context.settings.prefixLength }, shots, replay, 3e-2),
};
