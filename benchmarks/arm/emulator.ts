import { execFile } from 'node:child_process';
import { access, cp, mkdir, readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { packGateway } from '../fixtures/packed.ts';
import type { ArmOrder, ArmWork, CountedWork } from './program.ts';

const execute = promisify(execFile);

/** A processor that qemu-user emulates. `part` and `features` are what its /proc/cpuinfo would say: onnxruntime chooses int8 kernels by them. */
export interface Core {
  readonly id: string;
  readonly name: string;
  readonly cpu: string;
  readonly qemu: 'qemu-aarch64' | 'qemu-arm';
  /** Names the folder that .ci/arm64 or .ci/armv7 made. */
  readonly variable: 'TREMOLO_ARM64' | 'TREMOLO_ARMV7';
  readonly target: 'linux-arm64' | 'linux-armv7';
  readonly engine: 'onnxruntime' | 'wasm';
  readonly part?: string;
  readonly features?: string;
  /** Number of the system call umask. */
  readonly umask: number;
}

const arm64 = { qemu: 'qemu-aarch64', variable: 'TREMOLO_ARM64', target: 'linux-arm64', engine: 'onnxruntime', umask: 166 } as const;
const BASE = 'fp asimd evtstrm aes pmull sha1 sha2 crc32 cpuid';

export const CORES: readonly Core[] = [
  { ...arm64, id: 'a53', name: 'Cortex-A53', cpu: 'cortex-a53', part: '0xd03', features: BASE },
  { ...arm64, id: 'a72', name: 'Cortex-A72', cpu: 'cortex-a72', part: '0xd08', features: BASE },
  {
    ...arm64,
    id: 'a76',
    name: 'Cortex-A76',
    cpu: 'cortex-a76',
    part: '0xd0b',
    features: `${BASE} atomics fphp asimdhp asimdrdm lrcpc dcpop asimddp`,
  },
  {
    id: 'armv7',
    name: 'armv7 (Cortex-A7) on the wasm engine',
    cpu: 'cortex-a7',
    qemu: 'qemu-arm',
    variable: 'TREMOLO_ARMV7',
    target: 'linux-armv7',
    engine: 'wasm',
    umask: 60,
  },
];

/**
 * Where JavaScript is what is counted: V8 compiles and collects on the thread that is counted, not on helpers whenever they get to it, so no less is
 * counted and the same each time. WebAssembly would stay as its first compiler left it, three times slower.
 */
const REPEATABLE = ['--single-threaded', '--hash-seed=1', '--random-seed=1'];

/** Why a core cannot be emulated here; undefined where it can. */
export async function missing({ qemu, variable }: Core): Promise<string | undefined> {
  const folder = process.env[variable];
  const script = variable === 'TREMOLO_ARM64' ? '.ci/arm64' : '.ci/armv7';
  if (!folder) return `${variable} names no folder made by ${script}`;
  if (
    !(await access(`/usr/bin/${qemu}`).then(
      () => true,
      () => false,
    ))
  )
    return 'qemu-user is not installed';
  return undefined;
}

/** A packed gateway with the benchmark's program beside its own, and a system that shows the core's cpuinfo. */
export interface EmulatedGateway {
  /** @returns what the program answered */
  run<T>(work: ArmWork, plugin?: string): Promise<T>;
}

/** @param folder where the gateway is packed; @param bundle default: the bundle shipped with Tremolo */
export async function prepareGateway(root: string, core: Core, folder: string, bundle?: string): Promise<EmulatedGateway> {
  const place = join(folder, `packed-${core.id}`);
  await packGateway(root, core.target, place, bundle);
  await cp(`${root}dist/arm`, join(place, 'app'), { recursive: true });
  const given = join(process.env[core.variable]!, 'root');
  const system = join(folder, `system-${core.id}`);
  // The Node of the given system is run where it lies.
  await cp(given, system, { recursive: true, verbatimSymlinks: true, filter: (path) => path !== join(given, 'node') });
  if (core.part) {
    await mkdir(join(system, 'proc'), { recursive: true });
    const lines = [
      'processor\t: 0',
      'BogoMIPS\t: 48.00',
      `Features\t: ${core.features}`,
      'CPU implementer\t: 0x41',
      'CPU architecture: 8',
      'CPU variant\t: 0x0',
      `CPU part\t: ${core.part}`,
      'CPU revision\t: 4',
      '',
    ];
    await writeFile(join(system, 'proc/cpuinfo'), lines.join('\n'));
  }
  return {
    async run(work, plugin) {
      const options = ['-cpu', core.cpu, '-L', system, ...(plugin ? ['-plugin', plugin] : [])];
      const flags = work.kind === 'update' ? REPEATABLE : [];
      return runProgram([core.qemu, ...options, join(given, 'node/bin/node'), ...flags], place, core.engine, work);
    },
  };
}

/** The same on this processor: what emulated ones are compared with. */
export async function prepareReference(root: string, folder: string, bundle?: string): Promise<EmulatedGateway> {
  const place = join(folder, 'packed-here');
  await packGateway(root, process.arch === 'arm64' ? 'linux-arm64' : 'linux-x64', place, bundle);
  await cp(`${root}dist/arm`, join(place, 'app'), { recursive: true });
  return {
    run: (work) => runProgram([process.execPath], place, 'onnxruntime', work),
  };
}

async function runProgram<T>(node: readonly string[], place: string, engine: ArmOrder['engine'], work: ArmWork): Promise<T> {
  const order: ArmOrder = { ...work, engine, bundle: join(place, 'bundle'), out: join(place, `${work.kind}.json`) };
  const [command, ...options] = node;
  await execute(command, [...options, join(place, 'app/arm-program.js'), JSON.stringify(order)], { cwd: place, maxBuffer: 1 << 24 });
  return JSON.parse(await readFile(order.out, 'utf8')) as T;
}

/** What the plugin wrote. */
export interface InstructionCount {
  /** Of each piece of work between two marks: all instructions of the thread, and those of onnxruntime alone. */
  readonly pieces: readonly (readonly [all: number, inside: number])[];
  /** Their sums. */
  readonly all: number;
  readonly inside: number;
  /** The hottest of onnxruntime. */
  readonly blocks: readonly CountedBlock[];
}

export interface CountedBlock {
  readonly hits: number;
  readonly instructions: number;
  /** Assembly, a line an instruction. */
  readonly text: string;
}

/** Counts the instructions of some work. @returns what the program answered, too @throws Error where the plugin cannot be compiled */
export async function countInstructions<T>(
  root: string,
  gateway: EmulatedGateway,
  core: Core,
  folder: string,
  work: CountedWork,
): Promise<{ readonly count: InstructionCount; readonly answer: T }> {
  const library = join(folder, 'count.so');
  await execute('gcc', ['-shared', '-fPIC', '-O2', '-o', library, `${root}benchmarks/arm/count.c`]);
  const [out, range] = [join(folder, `count-${core.id}.json`), join(folder, `range-${core.id}`)];
  const plugin = `${library},out=${out},range=${range},umask=${core.umask}`;
  const answer = await gateway.run<T>({ ...work, range }, plugin);
  return { count: JSON.parse(await readFile(out, 'utf8')) as InstructionCount, answer };
}
