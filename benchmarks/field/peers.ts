import { readFile, writeFile } from 'node:fs/promises';
import { createRequire } from 'node:module';
import { delimiter, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import type { Skipped } from '../harness/scenario.ts';
import type { Installed, InstalledTorch } from './install.ts';
import { torchNetwork } from './torch-network.ts';

/** What every peer is told by its environment. */
export interface PeerWorld {
  /** The package's root folder, with a closing slash. */
  readonly root: string;
  readonly programs: URL;
  readonly installed: Installed;
  /** Folder of the bundle. */
  readonly bundle: string;
  readonly broker: string;
  /** A folder of this peer's own. */
  readonly folder: string;
}

/** A program that does the gateway's work with other means. */
export interface Peer {
  readonly id: string;
  /** What it is, with versions, or why it cannot run here. */
  readonly name: (installed: Installed) => string | Skipped;
  /** What its model computes in; all but PyTorch run the bundle's own graph. */
  readonly precision: 'int8' | 'fp32';
  /** Files that its user writes, below benchmarks/field/. */
  readonly files: readonly string[];
  /** The command, its arguments, and what its environment has beside what all have. */
  command(world: PeerWorld): Promise<{ readonly argv: readonly string[]; readonly environment: Readonly<Record<string, string>> }>;
}

const source = ({ root }: PeerWorld, file: string) => `${root}benchmarks/field/${file}`;
const ownVersion = (name: string) => (createRequire(import.meta.url)(`${name}/package.json`) as { version: string }).version;
const onnxruntimeNode = () => ownVersion('onnxruntime-node');
const probe = ({ programs }: PeerWorld) => ['--import', new URL('stream-probe.js', programs).href];
/** In these the model runs on the main thread. */
const MAIN = { TREMOLO_PROBE_MAIN: '1' };

const script: Peer = {
  id: 'script',
  name: () => `plain script: mqtt, onnxruntime-node ${onnxruntimeNode()}`,
  precision: 'int8',
  files: ['script/windows.mjs', 'script/decide.mjs'],
  command: async (world) => ({ argv: [process.execPath, ...probe(world), source(world, 'script/decide.mjs')], environment: MAIN }),
};

const nodeRed: Peer = {
  id: 'node-red',
  name: ({ versions }) => `Node-RED ${versions['node-red']}: mqtt in, function, onnxruntime-node ${onnxruntimeNode()}`,
  precision: 'int8',
  files: ['node-red/window.function', 'node-red/start.function', 'node-red/decide.function', 'node-red/settings.cjs'],
  async command(world) {
    const text = (name: string) => readFile(source(world, `node-red/${name}.function`), 'utf8');
    const [windows, start, decide] = await Promise.all(['window', 'start', 'decide'].map(text));
    const { hostname, port } = new URL(world.broker);
    const shared = { z: 'flow', x: 0, y: 0 };
    const functionNode = { ...shared, type: 'function', outputs: 1, timeout: 0, noerr: 0, finalize: '', libs: [] };
    const flow = [
      { id: 'flow', type: 'tab', label: 'Machines' },
      {
        id: 'broker',
        type: 'mqtt-broker',
        broker: hostname,
        port,
        clientid: '',
        autoConnect: true,
        usetls: false,
        protocolVersion: '4',
        keepalive: '60',
        cleansession: true,
      },
      {
        ...shared,
        id: 'in',
        type: 'mqtt in',
        topic: 'tremolo/v1/bench/streams/samples/+',
        qos: '0',
        datatype: 'buffer',
        broker: 'broker',
        nl: false,
        rap: true,
        rh: 0,
        inputs: 0,
        wires: [['windows']],
      },
      { ...functionNode, id: 'windows', name: 'windows', func: windows, initialize: '', wires: [['decide']] },
      { ...functionNode, id: 'decide', name: 'decide', func: decide, initialize: start, wires: [['out']] },
      { ...shared, id: 'out', type: 'mqtt out', topic: '', qos: '', retain: '', broker: 'broker', wires: [] },
    ];
    await writeFile(join(world.folder, 'flows.json'), JSON.stringify(flow));
    const red = join(world.installed.folder, 'node-red/node_modules/node-red/red.js');
    const options = ['--userDir', world.folder, '--settings', source(world, 'node-red/settings.cjs'), '--port', '0'];
    return { argv: [process.execPath, ...probe(world), red, ...options], environment: MAIN };
  },
};

const python: Peer = {
  id: 'python',
  name: ({ versions }) => `Python: paho-mqtt ${versions['paho-mqtt']}, numpy ${versions.numpy}, onnxruntime ${versions.onnxruntime}`,
  precision: 'int8',
  files: ['python/windows.py', 'python/decide_onnxruntime.py'],
  command: async (world) => ({
    argv: [join(world.installed.folder, 'py/bin/python'), source(world, 'python/decide_onnxruntime.py')],
    environment: {},
  }),
};

const torch: Peer = {
  id: 'python-torch',
  name: ({ versions, torch }) =>
    'skipped' in torch
      ? torch
      : `Python: paho-mqtt ${versions['paho-mqtt']}, numpy ${torch.numpy}, PyTorch ${torch.version}, fp32${torch.version.includes('+cu') ? ' (the build for graphics cards: its libraries are in the memory)' : ''}`,
  precision: 'fp32',
  files: ['python/windows.py', 'python/network.py', '../peers/encoder.py', 'python/decide_torch.py'],
  async command(world) {
    const { python: executable, modules } = world.installed.torch as InstalledTorch;
    const { options, weights } = await torchNetwork(world.bundle);
    const file = join(world.folder, 'network.safetensors');
    await writeFile(file, weights);
    const paths = [source(world, '../peers'), ...modules];
    return {
      argv: [executable, source(world, 'python/decide_torch.py')],
      environment: { NETWORK: JSON.stringify(options), WEIGHTS: file, PYTHONPATH: paths.join(delimiter) },
    };
  },
};

const tfjs: Peer = {
  id: 'tfjs-wasm',
  name: () => `script: mqtt, tfjs wasm ${ownVersion('@tensorflow/tfjs-backend-wasm')}`,
  precision: 'int8',
  files: ['script/windows.mjs', 'tfjs/decide.mjs'],
  command: async (world) => ({
    argv: [process.execPath, '--import', new URL('field-probe.js', world.programs).href, source(world, 'tfjs/decide.mjs')],
    environment: { FIELD_ENGINE: new URL('field-tfjs.js', world.programs).href, FIELD_WASM: fileURLToPath(world.programs) },
  }),
};

export const PEERS: readonly Peer[] = [nodeRed, python, torch, script, tfjs];

/** Lines that a user writes: neither blank, nor comment, nor of the measurement (marked `field`). */
export function linesWritten(text: string): number {
  const own = text.replace(/^.*field:begin[\s\S]*?field:end.*$/gm, '').replace(/"""[\s\S]*?"""/g, '');
  return own.split('\n').filter((line) => line.trim() !== '' && !/^\s*(\/\/|#)/.test(line) && !/# field$/.test(line)).length;
}
