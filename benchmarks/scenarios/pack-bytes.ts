import { execFile } from 'node:child_process';
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { pathToFileURL } from 'node:url';
import { promisify } from 'node:util';
import { startGatewayProcess } from '../../trainer/io/gateway-process.ts';
import { PACK_TARGET_NAMES, type PackTargetName } from '../../trainer/release/pack-targets.ts';
import { packGateway } from '../fixtures/packed.ts';
import { quantile } from '../harness/interleave.ts';
import type { Scenario } from '../harness/scenario.ts';
import { findMosquitto, startMosquitto } from '../streams/mosquitto.ts';

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

/** Starts of one packed folder, the first of which warms the disk's cache as a boot would not; it is not counted. */
const STARTS = 9;

const coldStart: Scenario = {
  id: 'pack.start.linux-x64',
  what: 'packed gateway of the shipped bundle, from the start of its process until it is subscribed and could decide: median',
  unit: 'ms',
  target: { atMost: 300 },
  async measure({ root, quick }) {
    const broker = findMosquitto();
    if (!broker) return { skipped: 'mosquitto is not installed (Debian: apt-get install mosquitto)' };
    if (process.platform !== 'linux' || process.arch !== 'x64') return { skipped: 'the packed programs are those of Linux on x64' };
    const folder = await mkdtemp(join(tmpdir(), 'tremolo-pack-'));
    const running = await startMosquitto(folder, broker);
    try {
      const packedFolder = join(folder, 'gateway');
      await packGateway(root, 'linux-x64', packedFolder);
      const configuration = { site: 'bench', gateway: 'start', bundle: join(packedFolder, 'bundle'), broker: { url: running.url } };
      const times: number[] = [];
      for (let start = 0; start <= (quick ? 2 : STARTS); start++) {
        const beganMs = performance.now();
        const gateway = await startGatewayProcess(
          { ...configuration, stateFolder: join(folder, `state-${start}`) },
          pathToFileURL(`${packedFolder}/app/`),
        );
        times.push(performance.now() - beganMs);
        await gateway.stop();
      }
      const [first, ...later] = times;
      const details = {
        'the first, ms': Math.round(first),
        'fastest, ms': Math.round(Math.min(...later)),
        'slowest, ms': Math.round(Math.max(...later)),
      };
      return { figure: quantile(later, 0.5), samples: later.length, details };
    } finally {
      await running.stop();
      await rm(folder, { recursive: true, force: true });
    }
  },
};

export const PACK_BYTES: readonly Scenario[] = [...PACK_TARGET_NAMES.map(packed), coldStart];
