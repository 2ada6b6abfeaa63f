import { execFileSync, spawn, spawnSync } from 'node:child_process';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { cFolder } from '../vectors/host-encoder.ts';

/** C headers of newlib come in a Debian package of their own, without which the compiler is there and string.h is not. */
function compiles(): boolean {
  const input = '#include <string.h>\n';
  return spawnSync('arm-none-eabi-gcc', ['--specs=nano.specs', '-E', '-x', 'c', '-o', '/dev/null', '-'], { input }).status === 0;
}

/** Empty where firmware can be built, otherwise why it cannot. */
export const noArmCompiler = compiles() ? '' : 'gcc-arm-none-eabi and libnewlib-arm-none-eabi are not installed';

const hasEmulator = spawnSync('qemu-system-arm', ['--version']).status === 0;
const hasMake = spawnSync('make', ['--version']).status === 0;

/** Empty where firmware can be built and run, otherwise why it cannot. */
export const noBoard = noArmCompiler || (hasMake ? (hasEmulator ? '' : 'qemu-system-arm is not installed') : 'make is not installed');

export interface Board {
  /** The emulated UART's other end, to open as a serial port. */
  readonly path: string;
  /** Takes the power away. Resolves when the emulator has ended. */
  close(): Promise<void>;
}

/**
 * Builds the example firmware and runs it on an emulated Cortex-M3 board.
 *
 * Device time is counted in instructions (-icount), so a busy test machine makes the board slow but never costs it a tick of its timer.
 */
export async function powerUpBoard(): Promise<Board> {
  const folder = mkdtempSync(join(tmpdir(), 'tremolo-firmware-'));
  execFileSync('make', ['-C', join(cFolder, 'firmware'), `BUILD=${folder}`], { stdio: 'pipe' });
  const options = ['-M', 'mps2-an385', '-display', 'none', '-monitor', 'none', '-icount', 'shift=5', '-serial', 'pty'];
  const emulator = spawn('qemu-system-arm', [...options, '-kernel', join(folder, 'firmware.elf')], { stdio: ['ignore', 'pipe', 'pipe'] });
  const gone = new Promise<void>((resolve) =>
    emulator.once('close', () => {
      rmSync(folder, { recursive: true, force: true });
      resolve();
    }),
  );
  const path = await new Promise<string>((resolve, reject) => {
    let text = '';
    const onText = (bytes: Uint8Array) => {
      text += Buffer.from(bytes).toString('latin1');
      const match = /redirected to (\S+)/.exec(text);
      if (match) resolve(match[1]);
    };
    emulator.stdout.on('data', onText);
    emulator.stderr.on('data', onText);
    emulator.once('error', reject);
    emulator.once('close', () => reject(new Error(`qemu-system-arm ended: ${text}`)));
  });
  return {
    path,
    close() {
      emulator.kill('SIGKILL');
      return gone;
    },
  };
}
