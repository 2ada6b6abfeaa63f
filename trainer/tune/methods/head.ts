import type { TuneMethod } from '../method.ts';
import { trainAdapter } from '../train-adapter.ts';

/** Trains the last layer and nothing else. Wrong where the shift changes what the layers before it see. */
export const head: TuneMethod = {
  name: 'head',
  summary: 'trains the last layer',
  tune: (context, shots, replay) => trainAdapter(context, { kind: 'head' }, shots, replay),
};
