import { execFile } from 'node:child_process';
import { access, mkdir, mkdtemp, readFile, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { promisify } from 'node:util';

const execute = promisify(execFile);

/** Folder of the peers that were installed, and the version of each. */
export interface Installed {
  readonly folder: string;
  readonly versions: Readonly<Record<string, string>>;
}

const exists = (path: string) =>
  access(path).then(
    () => true,
    () => false,
  );

let installing: Promise<Installed> | undefined;

/**
 * Installs Node-RED and a Python environment from their registries into a folder that may be thrown away, or takes the one that TREMOLO_BENCH_PEERS
 * names. Never into the package: a user of Tremolo needs none of it.
 *
 * @throws Error where a registry or Python is not there
 */
export function installPeers(progress: (line: string) => void): Promise<Installed> {
  installing ??= install(progress);
  return installing;
}

async function install(progress: (line: string) => void): Promise<Installed> {
  const folder = process.env.TREMOLO_BENCH_PEERS ?? (await mkdtemp(join(tmpdir(), 'tremolo-peers-')));
  const nodeRed = join(folder, 'node-red');
  if (!(await exists(join(nodeRed, 'node_modules/node-red/red.js')))) {
    progress(`installs Node-RED into ${folder}`);
    await mkdir(nodeRed, { recursive: true });
    await writeFile(join(nodeRed, 'package.json'), '{"private":true}\n');
    await execute('npm', ['install', '--no-save', '--no-audit', '--no-fund', 'node-red@4'], { cwd: nodeRed });
  }
  const python = join(folder, 'py');
  if (!(await exists(join(python, 'bin/python')))) {
    progress(`installs paho-mqtt, numpy and onnxruntime for Python into ${folder}`);
    await execute('python3', ['-m', 'venv', python]);
    await execute(join(python, 'bin/pip'), ['install', '--quiet', 'paho-mqtt', 'numpy', 'onnxruntime']);
  }
  const { stdout } = await execute(join(python, 'bin/pip'), ['list', '--format=json']);
  const packages = JSON.parse(stdout) as { name: string; version: string }[];
  const own = packages.filter(({ name }) => ['paho-mqtt', 'numpy', 'onnxruntime'].includes(name));
  const { version } = JSON.parse(await readFile(join(nodeRed, 'node_modules/node-red/package.json'), 'utf8')) as { version: string };
  return { folder, versions: { 'node-red': version, ...Object.fromEntries(own.map((one) => [one.name, one.version])) } };
}
