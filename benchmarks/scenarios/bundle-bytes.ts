import { stat } from 'node:fs/promises';
import { FILES, readBundle } from '../../models/bundle/bundle.ts';
import type { Context, Measured, Scenario, Skipped } from '../harness/scenario.ts';

const FOLDER = 'models/shipped/plant';

/** A figure of the files that travel to a gateway, from their bytes by name. */
function bytesScenario(
  row: Pick<Scenario, 'id' | 'what' | 'target'>,
  figureOf: (files: Readonly<Record<string, number>>) => Measured,
): Scenario {
  return {
    ...row,
    unit: 'bytes',
    async measure({ root }: Context): Promise<Measured | Skipped> {
      const manifest = await stat(`${root}${FOLDER}/${FILES.manifest}`).catch(() => undefined);
      if (!manifest) return { skipped: `${FOLDER} does not exist yet` };
      const { files } = await readBundle(`${root}${FOLDER}`);
      const sizes = { [FILES.manifest]: manifest.size, ...Object.fromEntries([...files].map(([name, bytes]) => [name, bytes.length])) };
      return figureOf(sizes);
    },
  };
}

export const BUNDLE_BYTES: readonly Scenario[] = [
  bytesScenario({ id: 'bundle.bytes.core', what: 'shipped bundle, part core with one adapter', target: { atMost: 200_000 } }, (files) => ({
    figure: Object.values(files).reduce((sum, bytes) => sum + bytes, 0),
    samples: Object.keys(files).length,
    details: files,
  })),
  bytesScenario({ id: 'bundle.bytes.adapter', what: 'shipped bundle, its adapter of rank 4', target: { atMost: 24_000 } }, (files) => ({
    figure: files[FILES.adapter],
    samples: 1,
    details: {},
  })),
];
