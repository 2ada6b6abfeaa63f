import { execFile } from 'node:child_process';
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { PACK_TARGET_NAMES, type PackTargetName } from '../../trainer/release/pack-targets.ts';
import { packGateway } from '../fixtures/packed.ts';
import type { Scenario } from '../harness/scenario.ts';

const packed = (target: PackTargetName): Scenario => ({
  id: `pack.bytes.${target}`,
  what: `folder that tremolo pack makes for ${target}, without Node`,
  unit: 'bytes',
  ...(target === 'linux-arm64' && { target: { atMost: 30e6 } }),
  async measure({ root }) {
    const folder = await mkdtemp(join(tmpdir(), 'tremolo-pack-'));
    try {
      const { bytes } = await packGateway(root, target, join(folder, 'gateway'));
      const { stdout } = await promisify(execFile)('sh', ['-c', 'tar -cJf - gateway | wc -c'], { cwd: folder });
      return { figure: bytes, samples: 1, details: { 'as tar.xz, bytes': Number(stdout) } };
    } finally {
      await rm(folder, { recursive: true, force: true });
    }
  },
});

export const PACK_BYTES: readonly Scenario[] = PACK_TARGET_NAMES.map(packed);
