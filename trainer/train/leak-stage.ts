import { findLeaks, refuseLeaks } from '../data/leaks.ts';
import type { StageOutcome } from './stages.ts';
import { WINDOW, type Workspace } from './workspace.ts';

type Leaks = Awaited<ReturnType<typeof findLeaks>>;

/** Looks for what is on two sides of the split. @throws Refusal data/leak */
export async function lookForLeaks({ stages, dataKey, recordings, signal }: Workspace): Promise<StageOutcome<Leaks>> {
  const outcome = await stages.run<Leaks>({
    name: 'leaks',
    inputs: dataKey,
    compute: async ({ bar }) =>
      findLeaks(recordings.train, [...recordings.validation, ...recordings.test], {
        window: WINDOW,
        signal,
        onProgress: (share) => bar.update(share),
      }),
    encode: (value) => ({ value, vectors: {} }),
    decode: ({ value }) => value as Leaks,
    summary: ({ leaks, signalsRepeat }) =>
      leaks.length > 0
        ? `${leaks.length} found`
        : signalsRepeat
          ? 'no recording is on two sides; signals are too alike to compare'
          : 'none',
  });
  refuseLeaks(outcome.result);
  return outcome;
}
