import { execFile } from 'node:child_process';
import { access, mkdir, mkdtemp, readFile, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { delimiter, join } from 'node:path';
import { promisify } from 'node:util';
import type { Skipped } from '../harness/scenario.ts';
import { debianPython, installTorch, torchVersion } from '../peers/pytorch.ts';

const execute = promisify(execFile);

/** A Python that can run the PyTorch peer. */
export interface InstalledTorch {
  readonly python: string;
  readonly version: string;
  readonly numpy: string;
  /** Folders of modules that it lacks. */
  readonly modules: readonly string[];
}

/** Folder of the peers that were installed, and the version of each. */
export interface Installed {
  readonly folder: string;
  readonly versions: Readonly<Record<string, string>>;
  readonly torch: InstalledTorch | Skipped;
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
  const versions = { 'node-red': version, ...Object.fromEntries(own.map((one) => [one.name, one.version])) };
  return { folder, versions, torch: await findTorch(folder, python, progress) };
}

/**
 * PyTorch in the Python environment of the peers, or the one that TREMOLO_BENCH_PYTHON names, or Debian's; the latter two get the modules that they
 * lack from a folder beside.
 */
async function findTorch(folder: string, environment: string, progress: (line: string) => void): Promise<InstalledTorch | Skipped> {
  const named = process.env.TREMOLO_BENCH_PYTHON;
  const own = join(environment, 'bin/python');
  let python = named ?? own;
  let version = await torchVersion(python);
  if (!version && named) return { skipped: `TREMOLO_BENCH_PYTHON: ${named} has no torch` };
  if (!version) {
    const failed = await installTorch(environment, progress);
    version = await torchVersion(own);
    if (!version) {
      const debian = await debianPython();
      if ('skipped' in debian) return { skipped: `${failed?.skipped ?? 'torch cannot be imported'}; ${debian.skipped}` };
      [python, version] = [debian.executable, debian.torch];
    }
  }
  const modules = python === own ? [] : [join(folder, 'torch-modules')];
  // Both are the same for every Python, and need nothing else.
  const target = python === own ? [] : ['--target', modules[0], '--upgrade', '--no-deps'];
  progress(`installs paho-mqtt and safetensors for ${python}`);
  try {
    await execute(join(environment, 'bin/pip'), ['install', '--quiet', ...target, 'paho-mqtt', 'safetensors']);
    const { stdout } = await execute(python, ['-c', 'import numpy, safetensors.torch; print(numpy.__version__)'], {
      env: { ...process.env, PYTHONPATH: modules.join(delimiter) },
    });
    return { python, version, numpy: stdout.trim(), modules };
  } catch (error) {
    return { skipped: `what goes with torch cannot be installed: ${(error as Error).message.trim().split('\n').at(-1)}` };
  }
}
