import { spawn } from 'node:child_process';
import type { CountedBlock, InstructionCount } from './emulator.ts';

const ITERATIONS = 50;
/** Each pass leaves out the lines that the assembler did not know. */
const MOST_PASSES = 4;

export interface CycleEstimate {
  /** Inside onnxruntime, of all that was counted. */
  readonly cycles: number;
  /** Share of the instructions whose blocks were estimated; the rest is taken to be like them. */
  readonly covered: number;
}

/** A block's lines as llvm-mca reads them: a branch ends a block and depends on addresses, a page's address is any number. */
function assembly({ text }: CountedBlock): string[] {
  return text
    .split('\n')
    .filter((line) => line !== '' && !/^(b|bl|br|blr|b\.\w+|cbn?z|tbn?z|ret|svc|\.)\b/.test(line))
    .map((line) => line.replace(/^adrp? (\w+), .*/, 'mov $1, #1').replace(/^ldr (\w+), #.*/, 'ldr $1, [sp]'));
}

/**
 * Cycles by llvm-mca's model of the core: every block's throughput when it repeats, its data in the first cache. Knows no cache misses, no branch
 * prediction and no overlap of blocks: good to about a factor of 2, more often too few cycles than too many.
 *
 * @returns or why there is none
 */
export async function estimateCycles(
  { inside, blocks }: InstructionCount,
  cpu: string,
): Promise<CycleEstimate | { readonly missing: string }> {
  const bodies = blocks.map(assembly);
  for (let pass = 0; pass < MOST_PASSES; pass++) {
    const lines: string[] = [];
    const origins: ([block: number, line: number] | undefined)[] = [];
    bodies.forEach((body, block) => {
      if (body.length === 0) return;
      lines.push(`# LLVM-MCA-BEGIN b${block}`, ...body, '# LLVM-MCA-END');
      origins.push(undefined, ...body.map((_, line): [number, number] => [block, line]), undefined);
    });
    const made = await llvmMca(cpu, `${lines.join('\n')}\n`);
    if (made === undefined) return { missing: 'llvm-mca is not installed (Debian: apt-get install llvm)' };
    const unknown = new Set([...made.errors.matchAll(/<stdin>:(\d+):\d+: error/g)].map(([, line]) => Number(line) - 1));
    if (unknown.size > 0) {
      for (const at of [...unknown].sort((a, b) => b - a)) {
        const origin = origins[at];
        if (origin) bodies[origin[0]].splice(origin[1], 1);
      }
      continue;
    }
    let [cycles, covered] = [0, 0];
    for (const [, name, total] of made.output.matchAll(/Code Region - b(\d+)[\s\S]*?Total Cycles:\s+(\d+)/g)) {
      const block = blocks[Number(name)];
      cycles += (block.hits * Number(total)) / ITERATIONS;
      covered += block.hits * block.instructions;
    }
    if (covered === 0) return { missing: `llvm-mca estimated no block: ${made.errors.slice(0, 200)}` };
    return { cycles: (cycles * inside) / covered, covered: covered / inside };
  }
  return { missing: 'llvm-mca does not know the assembly that qemu prints' };
}

function llvmMca(cpu: string, text: string): Promise<{ output: string; errors: string } | undefined> {
  return new Promise((resolve) => {
    const child = spawn('llvm-mca', [
      '-march=aarch64',
      `-mcpu=${cpu}`,
      `-iterations=${ITERATIONS}`,
      '-resource-pressure=false',
      '-instruction-info=false',
    ]);
    const [output, errors]: [string[], string[]] = [[], []];
    child.stdout.setEncoding('utf8').on('data', (chunk: string) => output.push(chunk));
    child.stderr.setEncoding('utf8').on('data', (chunk: string) => errors.push(chunk));
    child.once('error', () => resolve(undefined));
    child.once('close', () => resolve({ output: output.join(''), errors: errors.join('') }));
    child.stdin.on('error', () => {});
    child.stdin.end(text);
  });
}
