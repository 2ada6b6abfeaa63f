import { stat } from 'node:fs/promises';
import { FILES, readBundle } from '../../models/bundle/bundle.ts';
import type { Context, Measured, Scenario, Skipped } from '../harness/scenario.ts';

const FOLDER = 'models/shipped/plant';

/** Bytes of the files that travel to a gateway, by file. */
async function coreFiles({ root }: Context): Promise<Record<string, number> | Skipped> {
  const manifest = await stat(`${root}${FOLDER}/${FILES.manifest}`).catch(() => undefined);
  if (!manifest) return { skipped: `${FOLDER} does not exist yet` };
  const { files } = await readBundle(`${root}${FOLDER}`);
  return { [FILES.manifest]: manifest.size, ...Object.fromEntries([...files].map(([name, bytes]) => [name, bytes.length])) };
}

const isSkipped = (outcome: Record<string, number> | Skipped): outcome is Skipped => 'skipped' in outcome;

const core: Scenario = {
  id: 'bundle.bytes.core',
  what: 'shipped bundle, part core with one adapter',
  unit: 'bytes',
  target: { atMost: 200_000 },
  async measure(context): Promise<Measured | Skipped> {
    const files = await coreFiles(context);
    if (isSkipped(files)) return files;
    return { figure: Object.values(files).reduce((sum, bytes) => sum + bytes, 0), samples: Object.keys(files).length, details: files };
  },
};

const adapter: Scenario = {
  id: 'bundle.bytes.adapter',
  what: 'shipped bundle, its adapter of rank 4',
  unit: 'bytes',
  target: { atMost: 24_000 },
  async measure(context): Promise<Measured | Skipped> {
    const files = await coreFiles(context);
    if (isSkipped(files)) return files;
    return { figure: files[FILES.adapter], samples: 1, details: {} };
  },
};

export const BUNDLE_BYTES: readonly Scenario[] = [core, adapter];
